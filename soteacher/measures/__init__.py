"""The measures of a network: pure functions of its logits, without torch."""
