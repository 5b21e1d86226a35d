"""What the feature stage computes of an item. A recipe's module names its own as `FEATURES`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.item import WORDS

NO_MODEL = "none"
"""In place of a model folder: that modality gets no feature."""


@dataclass(frozen=True)
class FeatureSettings:
    """Two frozen models and what they see of an item; the defaults are MQMC's: ResNet-152 over frames, BERT over words.

    BERT is the one of English, the language of most corpora here (Real20M's queries, MicroLens' titles); for Chinese words take
    bert-base-chinese or a model like it. Number of frames, kinds of words and lengths are ours, as the paper does not give them.
    """

    vision: str = "models/resnet-152"
    """folder of any transformers vision model (ResNet, ViT, MobileNetV2, CLIP ...), its pooled output is the feature; none = leave media out"""
    text: str = "models/bert-base-uncased"
    """folder of any transformers text model (BERT, bert-base-chinese, MiniLM ...), its pooled output is the feature; none = leave words out"""
    frames: int = 10
    """frames T of a clip, the centres of T equal segments; any other item gives one image"""
    pool: Literal["mean", "none"] = "mean"
    """mean: vision.npy of a clip is [C], the mean over its frames (each image once where a clip has fewer than T); none: [T, C], the frames apart
    (images repeat where a clip has fewer). Of any other item it is [C]"""
    image_size: int = 0
    """side of the square input in pixels; 0 = what the vision model's folder says"""
    goods_words: tuple[str, ...] = ("title", "description")
    """which words of a good are encoded, joined by | in this order, e.g. [title]; there are title, description, caption, recognised_text"""
    video_words: tuple[str, ...] = ("title", "caption", "recognised_text")
    """which words of a clip and of any other item but a search query are encoded, joined by | in this order"""
    recognised_length: int = 40
    """characters kept of recognised text"""
    text_length: int = 128
    """tokens of an item's words at most"""
    text_pooling: Literal["auto", "first", "mean"] = "auto"
    """one vector out of the token vectors; auto = what the folder says, else the first token"""
    decoder: Literal["decord", "pyav"] = "decord"
    """video decoder; what decord cannot open goes to PyAV"""
    decode_timeout_s: float = 20.0
    """seconds after which a decoder counts as hung and is ended"""

    def __post_init__(self) -> None:
        for name, least in (("frames", 1), ("image_size", 0), ("recognised_length", 1), ("text_length", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {least}")
        for name in ("goods_words", "video_words"):
            unknown = [kind for kind in getattr(self, name) if kind not in WORDS]
            if unknown:
                raise ValueError(f"--{name} [{','.join(getattr(self, name))}]: there are no words {', '.join(unknown)}; choose of {', '.join(WORDS)}")
        if self.vision == self.text == NO_MODEL:
            raise ValueError("--vision none --text none: nothing to compute; name a folder for one of them")
