"""The rules of games: plain numpy (and numba) that knows nothing of learning."""
