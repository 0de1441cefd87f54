"""The kinds of figures. Each file defines one: its settings, title, meaning, checks and points."""
