"""Frames of videos by position: both backends give the frame that is shown there, or an error."""

from __future__ import annotations

import struct
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.media.source import Span
from pipeline.media.video import probe, read_video_frames
from tests.pipeline.media_clips import FRAMES, HEIGHT, WIDTH, X264_CLOSED, X265_CLOSED, X265_OPEN, blank_packets, number_in, picture, write_clip

# Codec, container, options, who reads it. All were found by comparing every position with a decode from the start.
KINDS = {
    "h264.mp4": ("libx264", X264_CLOSED, "decord"),
    "h264.mkv": ("libx264", X264_CLOSED, "decord"),
    "h264.mov": ("libx264", X264_CLOSED, "decord"),
    "h264-open.mp4": ("libx264", {"x264-params": "open-gop=1:bframes=3:keyint=12:scenecut=0"}, "pyav"),
    "h264-refresh.mp4": ("libx264", {"x264-params": "intra-refresh=1:keyint=12"}, "pyav"),
    "h264.avi": ("libx264", {}, "pyav"),
    "hevc.mp4": ("libx265", X265_CLOSED, "decord"),
    "hevc-open.mp4": ("libx265", X265_OPEN, "pyav"),
    "hevc-open.mkv": ("libx265", X265_OPEN, "pyav"),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, "decord"),
    "mpeg4.mp4": ("mpeg4", {}, "decord"),
    "mpeg4-reordered.mp4": ("mpeg4", {"bf": "2"}, "pyav"),
    "mpeg4-reordered.avi": ("mpeg4", {"bf": "2"}, "pyav"),
    "av1.mp4": ("libsvtav1", {"preset": "12"}, "pyav"),
    "av1.mkv": ("libsvtav1", {"preset": "12"}, "pyav"),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A function that gives a clip of KINDS by its file name, encoded once."""
    folder = tmp_path_factory.mktemp("clips")

    def made(name: str) -> Path:
        path = folder / name
        if not path.exists():
            codec, options, _ = KINDS[name]
            write_clip(path, codec, options=options)
        return path

    return made


@pytest.mark.parametrize("name", KINDS)
def test_each_position_gives_its_own_frame(clip, name):
    path = clip(name)
    wanted = [[39, 38], [0, 1, 11, 12, 13], [5, 17, 18, 26, 37], [24, 3, 3, 36, 23], [7, 35]]

    for backend in ("decord", "pyav"):
        for positions in wanted:
            frames = read_video_frames(path, lambda length, chosen=positions: chosen, backend=backend)

            assert [number_in(frame) for frame in frames] == positions, backend
    info = probe(path)
    assert info.frames == FRAMES
    assert info.backend == KINDS[name][2]


def test_frames_come_in_colour_and_upright(clip):
    frames = read_video_frames(clip("h264.mp4"), lambda length: [20])

    assert frames.shape == (1, HEIGHT, WIDTH, 3) and frames.dtype == np.uint8
    assert np.abs(frames[0].astype(int) - picture(20)).mean() < 6


@pytest.mark.parametrize("name", ["again.mkv", "bottle-detection.mp4", "flipping_a_pancake.mkv", "milk.mkv", "nasa_13013.mp4"])
def test_backends_agree_on_real_files(test_data, name):
    path = test_data / "data" / "videos" / name
    length = probe(path).frames
    rng = np.random.default_rng(3)
    positions = sorted(rng.integers(0, min(length, 200), 4).tolist()) + [0]
    with av.open(str(path)) as file:
        shown = {
            k: frame.to_ndarray(format="rgb24")
            for k, frame in zip(range(max(positions) + 1), file.decode(file.streams.best("video")))
            if k in positions
        }

    by_decord, by_pyav = (read_video_frames(path, lambda _: positions, backend=backend) for backend in ("decord", "pyav"))

    for position, a, b in zip(positions, by_decord, by_pyav):
        assert np.abs(a.astype(int) - b).mean() < 1
        assert np.abs(b.astype(int) - shown[position]).mean() < 1


def test_of_two_video_streams_both_backends_read_ffmpegs_default(test_data):
    path = test_data / "data" / "videos" / "nasa_13013.mp4"

    info = probe(path)

    assert (info.video_streams, info.width, info.height, info.frames, info.backend) == (2, 480, 270, 390, "pyav")
    for backend in ("decord", "pyav"):
        assert read_video_frames(path, lambda length: [0, length - 1], backend=backend).shape == (2, 270, 480, 3)


def test_probe_tells_frames_duration_and_codec(clip, test_data):
    made = probe(clip("av1.mkv"))
    real = probe(test_data / "data" / "videos" / "bottle-detection.mp4")

    assert (made.frames, made.duration_s, made.codec, made.video_streams) == (40, pytest.approx(4.0), "av1", 1)
    assert (real.frames, real.duration_s, real.codec, real.width, real.height) == (1189, pytest.approx(39.85, abs=0.01), "h264", 640, 360)


@pytest.mark.parametrize("backend", ["decord", "pyav"])
@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "av1.mp4"])
def test_a_member_of_a_tar_and_bytes_in_memory_are_read_as_the_file_is(clip, tmp_path, name, backend):
    path = clip(name)
    tar_path = tmp_path / "video-000000.tar"
    with tarfile.open(tar_path, "w") as tar:
        tar.add(clip("vp9.webm"), "other.webm")
        tar.add(path, name)
    with tarfile.open(tar_path) as tar:
        member = tar.getmember(name)

    span = Span(tar_path, member.offset_data, member.size)
    from_file, from_tar, from_memory = (
        read_video_frames(source, lambda length: [2, length // 2, length - 1], backend=backend) for source in (path, span, path.read_bytes())
    )

    assert (from_file == from_tar).all()
    assert (from_file == from_memory).all()


@pytest.mark.parametrize("backend", ["decord", "pyav"])
@pytest.mark.parametrize(("rotation", "green_corner"), [(90, (-1, 0)), (180, (-1, -1)), (270, (0, -1))])
def test_a_phones_rotation_mark_is_obeyed(tmp_path, backend, rotation, green_corner):
    path = write_clip(tmp_path / "turned.mp4", options=X264_CLOSED, frames=10, rotation=rotation)

    frame = read_video_frames(path, lambda length: [4], backend=backend)[0]

    assert frame.shape[:2] == ((HEIGHT, WIDTH) if rotation == 180 else (WIDTH, HEIGHT))
    row, column = (4 if side == 0 else -5 for side in green_corner)
    assert frame[row, column, 1] > 150 > 100 > frame[row, column, 0]


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_frames_that_an_edit_list_cuts_off_are_not_counted(clip, tmp_path, backend):
    whole = bytearray(clip("h264.mp4").read_bytes())
    place = whole.index(b"elst") + 12
    duration, start, rate = struct.unpack(">IiI", whole[place : place + 12])
    whole[place : place + 12] = struct.pack(">IiI", duration // 2, start + 5 * 1024, rate)  # 20 frames from the sixth on
    trimmed = tmp_path / "trimmed.mp4"
    trimmed.write_bytes(whole)

    frames = read_video_frames(trimmed, lambda length: [0, 10, length - 1], backend=backend)

    assert probe(trimmed).frames == 20
    assert [number_in(frame) for frame in frames] == [5, 15, 24]


def test_short_side_scales_down_keeps_the_aspect_and_never_enlarges(clip):
    halved = read_video_frames(clip("h264.mp4"), lambda length: [21, 9], short_side=32)
    enlarged = read_video_frames(clip("h264.mp4"), lambda length: [21], short_side=500)

    assert halved.shape == (2, 32, 48, 3)
    assert [number_in(frame) for frame in halved] == [21, 9]
    assert enlarged.shape == (1, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("backend", ["decord", "pyav"])
@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv"])
def test_a_frame_that_cannot_be_decoded_is_an_error_and_never_another_frame(clip, name, backend):
    # The last group of pictures starts at frame 36; packets 37 to 39 are what follows its keyframe.
    damaged = blank_packets(clip(name), range(37, 40))

    with pytest.raises(ValueError, match=f"damaged-{name}: frame 38 of 40 cannot be decoded; the file is damaged"):
        read_video_frames(damaged, lambda length: [38], backend=backend)
    whole_part = read_video_frames(damaged, lambda length: [3, 30], backend=backend)
    assert [number_in(frame) for frame in whole_part] == [3, 30]


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "mpeg4.mp4", "mpeg4-reordered.mp4"])
def test_an_mp4_without_its_table_of_keyframes_gives_the_right_frames(clip, tmp_path, name):
    untold = tmp_path / name
    untold.write_bytes(clip(name).read_bytes().replace(b"stss", b"free"))

    for backend in ("decord", "pyav"):
        frames = read_video_frames(untold, lambda length: [5, 17, 26, 39], backend=backend)

        assert [number_in(frame) for frame in frames] == [5, 17, 26, 39], backend


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "hevc.mp4", "vp9.webm"])
def test_pyav_decodes_nothing_before_the_keyframe_of_a_frame(clip, name):
    damaged = blank_packets(clip(name), range(0, 24))

    frames = read_video_frames(damaged, lambda length: [25, 39], backend="pyav")

    assert [number_in(frame) for frame in frames] == [25, 39]


def test_what_is_no_video_is_named(tmp_path, clip):
    words = tmp_path / "words.mp4"
    words.write_text("not a video")
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        file.mux(stream.encode(silence))
        file.mux(stream.encode())

    for backend in ("decord", "pyav"):
        with pytest.raises(ValueError, match=r"words\.mp4: FFmpeg cannot read it"):
            read_video_frames(words, lambda length: [0], backend=backend)
        with pytest.raises(ValueError, match=r"sound\.mp4: no video stream in it \(streams: audio\)"):
            read_video_frames(sound, lambda length: [0], backend=backend)
        with pytest.raises(ValueError, match=r"absent\.mp4: .*No such file"):
            read_video_frames(tmp_path / "absent.mp4", lambda length: [0], backend=backend)
    with pytest.raises(ValueError, match="sample 7"):
        probe(words, name="train/video-000012.tar: sample 7 ('2000316')")


def test_positions_outside_the_clip_and_unknown_backends_are_errors(clip):
    with pytest.raises(ValueError, match=r"frames \[40\] asked for, it has 40"):
        read_video_frames(clip("h264.mp4"), lambda length: [3, 40])
    with pytest.raises(ValueError, match="'gpu': choose one of decord, pyav"):
        read_video_frames(clip("h264.mp4"), lambda length: [3], backend="gpu")
