"""Frames by decord, for files where its counting of frames is right (see `video`)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from pipeline.media.packets import PacketIndex
from pipeline.media.source import Source, opened_by_ffmpeg


def read_with_decord(source: Source, positions: Sequence[int], index: PacketIndex) -> list[np.ndarray] | None:
    """Frames [H, W, 3] RGB uint8 at `positions`.

    None where decord cannot open or decode the file, or finds other frames or keyframes in it than `index` (a plain one) has. PyAV
    shall read it then: its word on what is wrong with the file is the last.
    """
    try:
        import decord
    except ImportError as error:
        raise ValueError(f"video backend decord is not installed ({error}); install it with `pip install decord`, or use backend pyav") from error
    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(opened_by_ffmpeg(source), num_threads=1)
        key_positions = [bisect_left(index.shown, keyframe) for keyframe in index.keyframes]
        if len(reader) != len(index.shown) or sorted(reader.get_key_indices()) != key_positions:
            return None
        return list(reader.get_batch(list(positions)).asnumpy())
    except (decord.DECORDError, RuntimeError, AssertionError):  # while decoding, on opening, and where it finds no frames
        return None
