"""`quintet.wire.link`'s protocols over one Redis server."""
