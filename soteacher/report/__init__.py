"""Tables and the page: from measures only."""
