"""Concepts: what captions speak of most, how often two of them are spoken of together, and which of them a caption holds.

counts.py           counted while packing, kept beside the shards
function_words.py   words that say nothing of a picture
"""
