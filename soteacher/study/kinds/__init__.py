"""The kinds of tables and figures that a study can have: one registered file per kind."""
