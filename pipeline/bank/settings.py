"""What the memory bank is made of. A recipe's module names its own as `BANK`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.item import WORDS

NOTHING = "none"
"""In place of a folder: without that model."""

Bank = Literal["train", "train_val", "released"]
BANKS: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {},
    "train_val": {"test": ("train", "val")},
    "released": {"train": ("train", "val"), "val": ("train", "val"), "test": ("train", "val")},
}
"""Name of a bank -> the splits that a split's clips are looked up in, where those are not the train split alone."""


def splits_searched(bank: str, split: str) -> tuple[str, ...]:
    """The splits whose clips may be neighbours of those of `split`; a clip itself never is."""
    return BANKS[bank].get(split, ("train",))


@dataclass(frozen=True)
class BankSettings:
    """By what a clip is looked up, among what, and how many neighbours are kept; the defaults are those of MMRA."""

    text: str = "models/uae-large-v1"
    """folder of a transformers text model that encodes what is looked up (title and captions); none = look up by `features` or `dumps`"""
    features: tuple[str, ...] = ()
    """without a text model: features of the clips, e.g. [words] or [vision,words], each of length 1 (frames: their mean), side by side"""
    dumps: str = NOTHING
    """in place of either: folder of dumps that pipeline.embed wrote with any checkpoint, a dump a split (DUMPS/train ...)"""
    captions: str = NOTHING
    """folder of a transformers image-to-text model (BLIP, GIT ...) whose captions of a clip's frames are added to its words; none = no captions"""
    words: tuple[str, ...] = ("title",)
    """which words of a clip are looked up, in this order; there are title, description, caption (a corpus' own captions), recognised_text"""
    prompt: str = "{text}"
    """what the text model is given; {text} stands for words and captions"""
    text_length: int = 256
    """tokens of a text at most"""
    text_pooling: Literal["auto", "first", "mean"] = "auto"
    """one vector out of the token vectors; auto = what the folder says, else the first token"""
    frames: int = 10
    """frames of a clip that are captioned, the centres of equal segments"""
    caption_length: int = 30
    """tokens of a caption at most"""
    similarity: Literal["cosine", "inner"] = "cosine"
    """cosine as released, or inner products as published"""
    bank: Bank = "train"
    """train: every clip is looked up among the training clips other than itself; train_val: those of test also among the validation clips; released:
    as the release did, training clips among validation clips too, so that the validation labels are trained on"""
    kept: int = 20
    """neighbours kept of each clip; a recipe uses the first of them"""

    def __post_init__(self) -> None:
        for name in ("text_length", "frames", "caption_length", "kept"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least 1")
        unknown = [kind for kind in self.words if kind not in WORDS]
        if unknown:
            raise ValueError(f"--words [{','.join(self.words)}]: there are no words {', '.join(unknown)}; choose of {', '.join(WORDS)}")
        if "{text}" not in self.prompt:
            raise ValueError(f"--prompt {self.prompt!r}: without {{text}} all clips would be looked up by the same words")
        if [self.text != NOTHING, bool(self.features), self.dumps != NOTHING].count(True) != 1:
            raise ValueError(
                f"--text {self.text} --features [{','.join(self.features)}] --dumps {self.dumps}: clips are looked up by a text model, by features "
                f"that they have, or by dumps; give one of them (--text {NOTHING} with the others)"
            )
        if self.text == NOTHING and self.captions != NOTHING:
            raise ValueError(f"--captions {self.captions}: captions are encoded by a text model; name one with --text, or give --captions {NOTHING}")
