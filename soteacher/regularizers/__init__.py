"""What a teacher's training adds to cross-entropy: one file a regularizer."""
