"""What a team is shown and what it may do, written by kernels."""
