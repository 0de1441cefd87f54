"""Drawing functions that figures share: style, panels, legends, colours and lines of accuracy."""
