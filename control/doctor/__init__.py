"""What is wrong with a run, found in its status, its events and its disk."""
