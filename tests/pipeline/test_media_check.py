"""Whole videos pass, truncated ones are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import pytest

from pipeline.media.check import check_video
from pipeline.media.source import Span
from pipeline.media.video import probe
from tests.pipeline.media_clips import cut, write_clip


def test_whole_videos_pass(test_data, tmp_path):
    for path in sorted((test_data / "data" / "videos").iterdir()):
        check_video(path)
    check_video(write_clip(tmp_path / "vp9.webm", "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}))
    check_video(write_clip(tmp_path / "mpeg4.avi", "mpeg4", options={"bf": "2"}))
    check_video(write_clip(tmp_path / "parts.mp4", container={"movflags": "frag_keyframe+empty_moov"}))
    check_video(write_clip(tmp_path / "h264.mp4").read_bytes())


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_truncated_mp4_is_named(tmp_path, share):
    path = cut(write_clip(tmp_path / "clip.mp4"), share)

    with pytest.raises(ValueError, match=f"cut-{share}-clip.mp4: FFmpeg cannot read it"):
        check_video(path)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.97])
@pytest.mark.parametrize("flags", ["faststart", "frag_keyframe+empty_moov"])
def test_a_truncated_mp4_whose_index_stands_first_is_named(tmp_path, flags, share):
    path = cut(write_clip(tmp_path / "clip.mp4", container={"movflags": flags}), share)

    with pytest.raises(ValueError, match=f"cut-{share}-clip.mp4: its packet at .* s is cut short; the file is truncated"):
        check_video(path)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("name", ["again.mkv", "flipping_a_pancake.mkv", "milk.mkv"])
def test_a_truncated_mkv_opens_with_fewer_frames_and_is_named(test_data, tmp_path, name, share):
    whole = Path(shutil.copy(test_data / "data" / "videos" / name, tmp_path))
    path = cut(whole, share)

    assert 0 < probe(path).frames < probe(whole).frames
    with pytest.raises(ValueError, match=rf"cut-{share}-{name}: its last packet ends at .* s, its header says .* s; the file is truncated"):
        check_video(path)


def test_a_truncated_webm_is_named_also_inside_a_tar(tmp_path):
    path = cut(write_clip(tmp_path / "clip.webm", "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}), 0.6)
    tar = tmp_path / "video.tar"
    tar.write_bytes(bytes(512) + path.read_bytes() + bytes(1024))

    with pytest.raises(ValueError, match=r"video\.tar: sample 3 \('2000316'\): its last packet ends at 2\.\d+ s, its header says 4\.00 s"):
        check_video(Span(tar, 512, path.stat().st_size), name=f"{tar}: sample 3 ('2000316')")


def test_a_video_stream_without_frames_is_named(tmp_path):
    path = tmp_path / "empty.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        file.start_encoding()

    with pytest.raises(ValueError, match=r"empty\.mkv: "):
        check_video(path)


def test_a_file_that_is_no_video_is_named(tmp_path):
    path = tmp_path / "page.mp4"
    path.write_text("<html>404</html>")

    with pytest.raises(ValueError, match=r"page\.mp4: FFmpeg cannot read it"):
        check_video(path)
