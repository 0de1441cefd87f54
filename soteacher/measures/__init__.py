"""The measures of a network: pure functions of its predictions, without torch."""
