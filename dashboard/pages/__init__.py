"""The pages of the web page, one module each: `TITLE`, `PATH` and `build(context)`."""
