"""Recorded games: files, and pictures and videos of them."""
