"""The processes of a run: command line, embedded Redis, Ray actors, controller, terminal board."""
