"""One training run as data: its configuration, metrics, journal and status."""
