"""The packets of a video's stream, listed without decoding: which frame comes when, and from which keyframe it can be decoded.

Time stamps are in the stream's own time base.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import av
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from pipeline.media.source import Source, opened_by_ffmpeg

_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpeg,mpegts,asf,ogg,h264,hevc",
    "protocol_whitelist": "file,subfile",
}
"""FFmpeg also knows formats that name other files or addresses (HLS, DASH, concat), whatever a file is called: a corpus shall not choose what is
opened."""
_TIMED_CONTAINERS = {"mp4", "matroska"}  # in FFmpeg's names of their families: "mov,mp4,m4a,3gp,3g2,mj2" and "matroska,webm"


class PacketIndex(NamedTuple):
    """Where the frames of one video stream are."""

    shown: list[int]
    """Time stamps of the frames in presentation order: position k is shown at shown[k]. Frames that an edit list cuts off are not in it."""

    keyframes: list[int]
    """Time stamps of the frames that decoding can start at, ascending."""

    timed: bool
    """True where every packet says when its frame is shown, each a different time. An AVI file does not: its frames can only be
    counted while decoding, and `shown` is of no use."""

    plain: bool
    """True where nothing is cut off by an edit list and a keyframe shuts off what came before it (closed groups of pictures): all
    that follows it in the file is shown after it, and an H.264 or HEVC decoder starts afresh."""

    def keyframe_before(self, shown: int) -> int | None:
        """The last keyframe shown at or before `shown`; None where there is none."""
        place = bisect_right(self.keyframes, shown)
        return self.keyframes[place - 1] if place else None


@contextmanager
def open_video(source: Source, name: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The opened file and the video stream that FFmpeg takes by default where there are several.

    `name` is what messages call it. FFmpeg's own errors inside the block become a ValueError too. Raises ValueError where FFmpeg
    cannot open it or there is no video stream (a cover picture beside sound is none).
    """
    try:
        with av.open(opened_by_ffmpeg(source), mode="r", metadata_errors="replace", options=_OPTIONS) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
                kinds = ", ".join(stream.type for stream in container.streams) or "none"
                raise ValueError(f"{name}: no video stream in it (streams: {kinds})")
            stream.codec_context.thread_count = 1  # the caller runs as many workers as there are cores
            yield container, stream
    except av.FFmpegError as error:
        raise ValueError(f"{name}: FFmpeg cannot read it ({error.strerror}); the file is no video, or truncated, or damaged") from error


def index_packets(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """List the packets of `stream`, from a container that nothing was read from yet; it is left at its end."""
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    shown: list[int] = []
    keyframes: list[int] = []
    timed = not _TIMED_CONTAINERS.isdisjoint(container.format.name.split(","))
    plain = True
    latest_key: int | None = None
    for packet in container.demux(stream):
        if not packet.size:
            continue
        if packet.pts is None:
            timed = False
            continue
        usable, resets = _entry(stream, bytes(packet)) if packet.is_keyframe else (False, False)
        if packet.is_keyframe:
            plain = plain and resets
        if usable:
            keyframes.append(packet.pts)
            latest_key = packet.pts
        elif latest_key is None or packet.pts < latest_key:
            plain = False
        if packet.is_discard:
            plain = False
        else:
            shown.append(packet.pts)
    shown.sort()
    keyframes.sort()
    timed = timed and all(earlier < later for earlier, later in pairwise(shown))
    return PacketIndex(shown, keyframes, timed, plain)


def seconds(time: int | None, time_base: Fraction | None) -> float:
    """`time` in seconds; 0 where the file does not say."""
    return float(time * time_base) if time and time_base else 0.0


def _entry(stream: VideoStream, packet: bytes) -> tuple[bool, bool]:
    """Of a packet that the file marks as a keyframe: whether decoding can start at it, and whether it resets the decoder.

    Containers also mark recovery points of H.264 and HEVC (open groups of pictures, gradual refresh), which reset nothing, and from
    which a decoder may give its first frame later than that of the mark. An MP4 that lacks its table of keyframes marks
    every packet, and an MPEG-4 decoder makes rubbish from any of them without an error.
    """
    codec = stream.codec.canonical_name
    if codec == "mpeg4":
        picture = packet.find(b"\x00\x00\x01\xb6") + 4
        intra = picture >= 4 and picture < len(packet) and packet[picture] >> 6 == 0
        return intra, intra
    if codec in ("h264", "hevc"):
        return True, _holds_reset(codec, stream.codec_context.extradata or b"", packet)
    return True, True


def _holds_reset(codec: str, setup: bytes, packet: bytes) -> bool:
    """Whether an H.264 or HEVC packet has an IDR (or BLA) picture. In MP4 and Matroska it is a row of units, each behind its length."""
    place_of_length_size = 4 if codec == "h264" else 21  # in the stream's avcC or hvcC record
    if len(setup) <= place_of_length_size or setup[0] != 1:
        return False
    length_size = (setup[place_of_length_size] & 3) + 1
    place = 0
    while place + length_size < len(packet):
        header = packet[place + length_size]
        if (header & 31 == 5) if codec == "h264" else (16 <= (header >> 1) & 63 <= 20):
            return True
        place += length_size + int.from_bytes(packet[place : place + length_size], "big")
    return False
