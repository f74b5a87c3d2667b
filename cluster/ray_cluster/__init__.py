"""Ray: the only place that knows it; imported inside the commands that need it."""
