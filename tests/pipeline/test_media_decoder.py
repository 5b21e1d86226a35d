"""Decoding in a process of its own: the same frames, within the limit, whatever becomes of the process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.media import Decoder
from pipeline.media.sampling import frame_positions
from pipeline.media.source import Span
from pipeline.media.wire import packed
from tests.pipeline.media_clips import X264_CLOSED, blank_packets, number_in, write_clip

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("decoder") / "clip.mp4", options=X264_CLOSED)


@pytest.fixture(scope="module")
def decoder():
    """One for all tests, whatever they do to its process."""
    with Decoder(timeout_s=20) as decoder:
        yield decoder


@pytest.fixture
def endless(tmp_path) -> Path:
    """A pipe that nobody writes to: whoever opens it waits for ever."""
    path = tmp_path / "endless.mp4"
    os.mkfifo(path)
    return path


def process_of(decoder: Decoder) -> int:
    assert decoder._process is not None
    return decoder._process.pid


def has_ended(pid: int, within_s: float) -> bool:
    """Whether a process that is not our child is gone (or waits to be collected) within the time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_centres_without_a_generator_and_drawn_frames_with_one(decoder, clip):
    centres = decoder.read(clip, 5)
    drawn = decoder.read(clip, 5, np.random.default_rng(3))

    assert centres.shape == (5, 64, 96, 3) and centres.dtype == np.uint8
    assert [number_in(frame) for frame in centres] == [4, 12, 20, 28, 36]
    assert [number_in(frame) for frame in drawn] == frame_positions(40, 5, np.random.default_rng(3))


def test_the_draw_depends_on_the_generator_alone(decoder, clip, tmp_path):
    rng, untouched = np.random.default_rng(5), np.random.default_rng(5)

    with pytest.raises(ValueError, match="absent"):
        decoder.read(tmp_path / "absent.mp4", 5, rng)
    untouched.random(5)

    assert rng.random() == untouched.random()


def test_one_process_serves_many_requests(decoder, clip, tmp_path):
    words = tmp_path / "words.mp4"
    words.write_text("not a video")
    decoder.read(clip, 1)
    first = process_of(decoder)

    decoder.read(clip, 2)
    with pytest.raises(ValueError, match=r"words\.mp4: FFmpeg cannot read it"):
        decoder.read(words, 2)
    decoder.read(clip, 3)

    assert process_of(decoder) == first


def test_a_member_of_a_tar_is_read_and_scaled(decoder, clip, tmp_path):
    tar = tmp_path / "video-000000.tar"
    tar.write_bytes(bytes(512) + clip.read_bytes() + bytes(512))

    frames = decoder.read(Span(tar, np.int64(512), np.int64(clip.stat().st_size)), 3, short_side=32)

    assert frames.shape == (3, 32, 48, 3)
    assert [number_in(frame) for frame in frames] == [6, 20, 33]


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_damage_is_told_under_the_callers_name(clip, backend):
    with Decoder(backend) as decoder:
        with pytest.raises(ValueError, match=r"sample 7 \('2000316'\): frame 36 of 40 cannot be decoded"):
            decoder.read(blank_packets(clip, range(36, 40)), 5, name="sample 7 ('2000316')")


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_a_decoder_that_hangs_is_ended_within_the_limit_and_the_next_video_is_read(clip, endless, backend):
    with Decoder(backend) as decoder:
        decoder.read(clip, 1)
        hanging = process_of(decoder)
        decoder.timeout_s = 1.0

        start = time.monotonic()
        with pytest.raises(ValueError, match=rf"endless\.mp4: the {backend} decoder gave no frames within 1 s and was ended"):
            decoder.read(endless, 5)
        took_s = time.monotonic() - start

        assert 1.0 <= took_s < 3.0
        assert has_ended(hanging, 1.0)
        decoder.timeout_s = 20.0
        assert [number_in(frame) for frame in decoder.read(clip, 2)] == [10, 30]
        assert process_of(decoder) != hanging


def test_a_crash_is_told_with_the_videos_name_and_the_next_video_is_read(decoder, clip, endless):
    decoder.read(clip, 1)
    crash = threading.Timer(0.3, os.kill, (process_of(decoder), signal.SIGSEGV))
    crash.start()

    with pytest.raises(ValueError, match=r"endless\.mp4: the decord decoder crashed on it \(exit code -11\)"):
        decoder.read(endless, 5)

    assert [number_in(frame) for frame in decoder.read(clip, 2)] == [10, 30]


def test_a_process_that_went_between_two_videos_is_replaced(decoder, clip):
    decoder.read(clip, 1)
    os.kill(process_of(decoder), signal.SIGKILL)
    assert has_ended(process_of(decoder), 5.0)

    assert [number_in(frame) for frame in decoder.read(clip, 2)] == [10, 30]


def _read_in_worker(decoder: Decoder, clip: Path, results) -> None:
    frames = decoder.read(clip, 2)
    results.put((process_of(decoder), [number_in(frame) for frame in frames]))
    decoder.close()


def test_a_forked_daemonic_worker_has_a_process_of_its_own(decoder, clip):
    decoder.read(clip, 1)
    ours = process_of(decoder)
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    worker = context.Process(target=_read_in_worker, args=(decoder, clip, results), daemon=True)
    worker.start()
    theirs, numbers = results.get(timeout=30)
    worker.join(10)

    assert numbers == [10, 30]
    assert theirs != ours
    assert [number_in(frame) for frame in decoder.read(clip, 2)] == [10, 30]
    assert process_of(decoder) == ours


def test_a_copy_sent_to_another_process_starts_afresh(decoder, clip):
    decoder.read(clip, 1)

    with pickle.loads(pickle.dumps(decoder)) as copy:
        assert [number_in(frame) for frame in copy.read(clip, 2)] == [10, 30]
        assert process_of(copy) != process_of(decoder)


def test_the_process_ends_with_the_one_that_asks(clip):
    program = (
        "import os, sys; from pipeline.media import Decoder; decoder = Decoder(); decoder.read(sys.argv[1], 1); "
        "print(decoder._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )

    ended = subprocess.run([sys.executable, "-c", program, str(clip)], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)

    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert has_ended(int(ended.stdout), 5.0)


def test_a_process_that_hangs_ends_itself_when_nobody_is_left_to_end_it(endless):
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.media.decoder_process"], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    request = {"source": str(endless), "points": [0.5], "backend": "decord", "short_side": None, "name": "endless", "timeout_s": 0.1}

    with process:
        assert process.stdin is not None
        process.stdin.write(packed(request))
        process.stdin.flush()

        assert process.wait(20) == -signal.SIGALRM


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_memory_stays_flat_over_many_videos(clip, test_data, backend):
    def resident_mib() -> float:
        pages = int(Path(f"/proc/{process_of(decoder)}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    pancake = test_data / "data" / "videos" / "flipping_a_pancake.mkv"
    with Decoder(backend) as decoder:
        for _ in range(20):
            decoder.read(clip, 5)
        decoder.read(pancake, 5)
        before = resident_mib()

        for _ in range(200):
            decoder.read(clip, 5)
        decoder.read(pancake, 5)

        assert resident_mib() < before + 16


def test_bytes_and_wrong_settings_are_refused(decoder):
    with pytest.raises(ValueError, match="use read_video_frames for bytes"):
        decoder.read(b"1234", 1)
    with pytest.raises(ValueError, match="'gpu': choose one of decord, pyav"):
        Decoder("gpu")
    with pytest.raises(ValueError, match="a time limit of 0 s"):
        Decoder(timeout_s=0)
