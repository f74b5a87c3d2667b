"""Compiled CPU code of the network; skip it on first reading."""
