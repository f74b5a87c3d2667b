"""What crosses a process border: chunks, weights, reports, and the links that carry them."""
