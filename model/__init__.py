"""The recurrent policy: encoders, LSTM, heads, normalisers, and how its weights travel."""
