"""Look at a dump by hand: a local page where a picture or clip is dropped, or words are typed, and the nearest goods or videos are shown.

    python -m evaluate.browse --run RUN --dump OUT/dumps/goods [OUT/dumps/video]

prints the page's address; Ctrl-C ends it. Search is exact, the dump is held in memory. Uploads are bounded in bytes (--upload_mb), in time
(--time_limit) and in pixels (50 million), and decoded in a process of their own that holds the model a second time, so that nobody else waits
for them. Items' words and pictures come from the packed split that the dump was made from: it is looked for beside the dump and the run, or
named with --shards.

The page answers to this machine's names for itself (127.0.0.1, localhost), to --host and to --names, and to no others, so that a foreign page
cannot reach it through a name of its own (DNS rebinding). Where --host is more than this machine, it answers to every address in digits, too,
since no name leads there: http://192.168.1.5:8765/ works, http://box.example:8765/ needs --names box.example.

It needs the extra `browse` (pip install -e .[browse]).
"""

from __future__ import annotations

import argparse
import errno
import ipaddress
import math
import socket
import sys
from collections.abc import Callable, Sequence

from evaluate.browsing.encoder import Encoder
from evaluate.browsing.finder import Finder
from evaluate.browsing.names import Names
from evaluate.dump import Dump
from launch.command import CommandParser, run_command
from launch.logs import say

ENCODER = "pipeline.browsing.worker"
"""The program that looks at uploads and items. A room above this one has it, so it is started by its name."""
UPLOAD_MB_MOST, TIME_LIMIT_MOST = 1e5, 86_400.0


def open_finder(run: str, dumps: Sequence[str], options: Sequence[str], limit_s: float) -> Finder:
    """The dumps, and the encoder of the run that made them; `options` are further flags of the encoder's program.

    Raises ValueError where a dump is not finished or not of that run, or the run cannot be loaded.
    """
    opened = [Dump(dump) for dump in dumps]
    command = [sys.executable, "-m", ENCODER, "--run", run, "--dump", *dumps, *options]
    encoder, uploads = Encoder(command), Encoder(command)
    try:
        return Finder(encoder, uploads, opened, limit_s)
    except BaseException:
        encoder.close()
        uploads.close()
        raise


def serve(finder: Finder, host: str, port: int, names: Sequence[str], upload_mb: float, time_limit: float) -> None:
    """Serve the page until interrupted; prints its address.

    Args:
        port: 0 = any that is free.
        names: further names that the page may be asked for by, beside `host` and those of this machine for itself.

    Raises ValueError where it cannot listen there, a name is none, or what serves is not installed.
    """
    try:
        import uvicorn

        from evaluate.browsing.app import browse_app
        from evaluate.browsing.reading import Limits
    except ModuleNotFoundError as error:
        raise ValueError(f"the page needs {error.name}, which is not installed: pip install -e .[browse]") from error
    with _listening(host, port) as listening:
        address, own_port = listening.getsockname()[:2]
        is_open = not ipaddress.ip_address(address).is_loopback
        answered = Names([host, *names], any_address=is_open)
        app = browse_app(finder, Limits(round(1e6 * upload_mb), time_limit), answered)
        if is_open:
            say(f"{host}: everybody who reaches this address can search and see the items; nothing asks for a password")
        if is_open or names:
            say(f"it answers to {answered}; --names adds others, e.g. --names {socket.gethostname()}")
        shown = f"[{host}]" if ":" in host else host
        say(f"http://{shown}:{own_port}/")
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off", limit_concurrency=64)
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.getaddrinfo(host, port, family)
    except OSError as error:
        raise ValueError(f"--host {host}: no address is known for this name; give an address of this machine, or 0.0.0.0 for all") from error
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        if error.errno == errno.EADDRNOTAVAIL:
            raise ValueError(f"--host {host}: {why}; give an address of this machine, or 0.0.0.0 for all") from error
        raise ValueError(f"--host {host} --port {port}: {why}; give another port, or 0 for any that is free") from error


def _above_zero(most: float) -> Callable[[str], float]:
    """Reads a number above 0 and up to `most`."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 < number <= most:
            raise argparse.ArgumentTypeError(f"{text}: a number above 0, at most {most:,.0f}")
        return number

    return read


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text}: a number from 0 to 65535")
    return int(text)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and serve."""
    parser = CommandParser("python -m evaluate.browse", __doc__)
    parser.add_argument("--run", required=True, help="run folder (its best checkpoint, else the latest) or one checkpoint folder")
    parser.add_argument("--dump", required=True, nargs="+", help="finished dumps of that checkpoint, e.g. OUT/dumps/goods; one a domain")
    parser.add_argument("--shards", nargs="+", default=[], help="packed splits with the items' words and pictures (default: looked for)")
    parser.add_argument("--weights", choices=["live", "ema"], default="live", help="those that the dump was made with (default: %(default)s)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto = GPU where there is one (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at (default: %(default)s, this machine alone)")
    parser.add_argument("--port", type=_port, default=8765, help="0 = any that is free (default: %(default)s)")
    parser.add_argument("--names", nargs="+", default=[], help="further names that the page may be asked for by, e.g. this machine's (see above)")
    parser.add_argument(
        "--upload_mb", type=_above_zero(UPLOAD_MB_MOST), default=64.0, help="most that an upload may have, in MB (default: %(default)g)"
    )
    parser.add_argument(
        "--time_limit",
        type=_above_zero(TIME_LIMIT_MOST),
        default=30.0,
        help="seconds that an upload may take to arrive, and then to be decoded and embedded (default: %(default)g)",
    )
    given = parser.parse_args(argv)
    options = ["--weights", given.weights, "--device", given.device, *(["--shards", *given.shards] if given.shards else [])]
    finder = open_finder(given.run, given.dump, options, given.time_limit)
    try:
        about = finder.about
        say(f"{about['recipe']}, checkpoint {about['checkpoint'][:12]}: " + ", ".join(f"{len(o):,} {d}" for d, o in finder.collections.items()))
        for line in (*about["refuses"].values(), about["corpus"]):
            if line:
                say(line)
        serve(finder, given.host, given.port, given.names, given.upload_mb, given.time_limit)
    finally:
        finder.close()


if __name__ == "__main__":
    run_command(main)
