"""What is measured of a network: pure functions of its logits. No torch."""
