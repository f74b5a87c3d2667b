"""Child processes: how each is started, watched and ended."""
