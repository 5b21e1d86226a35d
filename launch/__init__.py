"""Floor 0: start and stop a job, write files whole, seeds, logs. Imports nothing of ours."""
