"""Where results will be written: looked at before the work, and not after hours of it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile


def require_writable(folder: str | Path, out: str | Path | None = None) -> None:
    """Make `folder`. Raises ValueError where it cannot be made or written to, naming `out` (default: `folder`), which is to be there."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"--out {out or folder}: cannot be written ({error.strerror}); give a folder that you may write to") from error
