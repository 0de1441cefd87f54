"""The kinds of figures. Each file defines the settings, title, meaning, checks and points of one."""
