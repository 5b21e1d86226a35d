"""Several vectors of an item to one: of words and frames, over time, across modalities, of neighbours."""
