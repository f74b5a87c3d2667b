"""Other libraries' games as `VectorGame`s: Gymnasium, PettingZoo, OpenSpiel."""
