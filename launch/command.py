"""What all stages' commands share: flags that must be spelled out, and errors of use or of input as one clear line."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from launch.logs import is_main


class OneLineErrors:
    """Makes a parser (argparse's or jsonargparse's) raise ValueError with one line where it would print its usage page."""

    def error(self, message: str, *rest: Any) -> NoReturn:
        """Called by the parser for a flag that is wrong."""
        raise ValueError(" ".join(message.split()) + "; --help lists the flags")


class CommandParser(OneLineErrors, argparse.ArgumentParser):
    """A parser for a stage: `description` as it stands, no abbreviated flags, one-line errors."""

    def __init__(self, prog: str, description: str | None) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)


def run_command(main: Callable[[list[str] | None], None]) -> None:
    """Run a stage's `main`; an error of use or of input (ValueError, OSError) becomes one line and exit code 2.

    REELGOODS_TRACEBACK=1 shows where it was raised.
    """
    try:
        main(None)
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError) as error:
        if os.environ.get("REELGOODS_TRACEBACK"):
            raise
        if is_main() or isinstance(error, OSError):
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def leave_at_once(message: str) -> NoReturn:
    """Print `message` as the error and end this process with exit code 2, without Python's shutdown.

    After a collective has failed the shutdown may never end: the interpreter waits for gloo's thread, which waits for the interpreter to
    let go of a tensor. REELGOODS_TRACEBACK=1 shows where the error was raised.
    """
    if os.environ.get("REELGOODS_TRACEBACK"):
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(2)
