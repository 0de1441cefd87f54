"""Statistics over seeds, over methods and over test images: pure functions of numbers."""
