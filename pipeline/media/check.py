"""Whether a video file is whole, by reading its header and packets, without decoding: done once, when a corpus is packed."""

from __future__ import annotations

import math

from pipeline.media.packets import open_video, seconds
from pipeline.media.source import Source, source_name


def check_video(source: Source, name: str | None = None) -> None:
    """Raise ValueError, naming the file, where it is no video, has no frames, or ends before its header says.

    A truncated MP4 has usually lost its index, which stands last, and does not open; where the index stands first, the last packet
    is cut. A truncated Matroska or WebM opens and ends early: its last packet, of any stream, must end no more than 0.1 s or two
    frames, whichever is longer, before the header's duration. A frame that is damaged inside shows only when it is decoded.

    Args:
        source: a path, a span of a tar, or the file's bytes.
        name: what the message calls it; its path where there is none.
    """
    name = name or source_name(source)
    with open_video(source, name) as (container, stream):
        in_matroska = "matroska" in container.format.name
        frames, first_s, end_s = 0, math.inf, 0.0
        for packet in container.demux():
            if not packet.size:
                continue
            start_s = seconds(packet.pts, packet.time_base)
            if packet.is_corrupt:
                raise ValueError(f"{name}: its packet at {start_s:.2f} s is cut short; the file is truncated or damaged")
            is_frame = packet.stream_index == stream.index
            if is_frame and not packet.is_discard:
                frames += 1
                first_s = min(first_s, start_s)
            if is_frame or in_matroska:
                end_s = max(end_s, start_s + seconds(packet.duration, packet.time_base))
        if frames == 0:
            raise ValueError(f"{name}: its video stream ({stream.codec.canonical_name}) has no frames")
        # Matroska's header has the time at which the last stream ends, others' how long each stream is.
        promised_s = (container.duration or 0) / 1e6 if in_matroska else first_s + seconds(stream.duration, stream.time_base)
        tolerance_s = max(0.1, 2 / float(stream.average_rate)) if stream.average_rate else 0.1
        if end_s < promised_s - tolerance_s:
            raise ValueError(f"{name}: its last packet ends at {end_s:.2f} s, its header says {promised_s:.2f} s; the file is truncated")
