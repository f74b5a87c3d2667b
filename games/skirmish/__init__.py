"""The built-in game: two teams of heroes, lanes, towers, fog of war."""
