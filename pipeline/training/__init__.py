"""Training: a step of the weights, the run around it, its log, its validation."""
