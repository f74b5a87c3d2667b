"""The rules at work: one kernel per part of a tick."""
