"""The kinds of tables and figures that a study may ask for: one registered file per kind."""
