"""The kinds of tables: each file has a kind's settings, title and meaning, checks and cells."""
