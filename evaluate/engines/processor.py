"""What the processor can do."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def multiplies_bf16() -> bool:
    """True where the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX); without it, it is emulated and slow."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
