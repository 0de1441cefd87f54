"""What figures share: their look, panels and legends, colours, and lines of accuracy."""
