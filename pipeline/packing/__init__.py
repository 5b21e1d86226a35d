"""From a corpus to a packed split: the listing, the hold-out, the shards, the vocabulary. `pipeline/pack.py` is the stage."""
