"""Tables, figures and the page, made from measures only."""
