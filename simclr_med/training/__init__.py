"""Training: the loop, one step of it, gradient caching, workers, and what starts and stops them."""
