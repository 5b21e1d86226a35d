"""The parts of the feature stage: its settings, samples to batches, frozen models, shards written. `pipeline/features.py` is the stage."""
