"""The kinds of figures: each file has a kind's settings, title and meaning, checks and points."""
