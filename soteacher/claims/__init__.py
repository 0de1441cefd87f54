"""The claims of the paper: what its own numbers say, what a study says, and how sure that is."""
