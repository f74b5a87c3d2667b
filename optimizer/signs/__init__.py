"""What a batch shows of whether anything can be learned, and is learned, from it."""
