"""The Arena: games played by a run's newest weights, streamed to the page."""
