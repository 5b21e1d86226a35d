"""What `python -m pipeline.doctor` looks at, one thing a file; each gives a Sheet for the screen."""
