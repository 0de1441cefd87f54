"""The kinds of tables. Each file defines the settings, title, meaning, checks and cells of one."""
