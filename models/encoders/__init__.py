"""Frames and words to vectors: any transformers vision or text model, its pooled feature, one linear projection."""

from models.encoders.encoder import Encoder, TowerOutput
from models.encoders.text import Pooling, TextEncoder, load_text
from models.encoders.vision import VisionEncoder, load_vision

__all__ = ["Encoder", "Pooling", "TextEncoder", "TowerOutput", "VisionEncoder", "load_text", "load_vision"]
