"""Vectors from elsewhere (.npy, released text features) and what the command `python -m evaluate.dump` does."""
