"""The memory bank of popularity prediction: for each clip its nearest clips whose popularity is known.

settings.py     what a clip is looked up by, and among what
vectors.py      clips as vectors: words and captions by a text model, or features that they have
captions.py     texts of frames by an image-to-text model
search.py       the nearest clips, never the clip itself
lists.py        the lists as a file beside a split's features, read by offset
"""
