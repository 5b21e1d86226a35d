"""Floor 1: features in, features out. Encoders over transformers, fusion and frame blocks, decoders."""
