"""The kinds of tables. Each file defines one: its settings, title, meaning, checks and cells."""
