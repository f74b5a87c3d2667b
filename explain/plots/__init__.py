"""The pictures of `quintet.explain`."""
