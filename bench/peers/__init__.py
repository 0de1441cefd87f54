"""Other code that trains the same networks, as its users run it."""
