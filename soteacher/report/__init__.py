"""Tables, figures and the page: from measures only."""
