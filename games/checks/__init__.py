"""What is wrong with a game or an environment, said with file and line."""
