"""Players, matches and results: who is stronger, without processes or pages."""
