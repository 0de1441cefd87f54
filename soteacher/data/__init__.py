"""Image sets, prepared once, and the stream of batches made of them."""
