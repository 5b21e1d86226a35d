"""Approximate search: an index is chosen, trained, filled, tuned to a wanted recall, and stored with a card that says how good it is.

choose -> build (sample, held_out, tune) -> folder, card -> search (rerank)
"""
