"""Which floating-point format a step computes in, by what the machine has."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch


def cpu_has_bf16() -> bool:
    """True where the processor multiplies bf16 in hardware (AVX512-BF16 or AMX); without it bf16 is emulated and slow."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def resolve_precision(wanted: str, device: torch.device) -> str:
    """ "fp32", "bf16" or "fp16" for `wanted` ("auto" or one of them) on `device`.

    auto: bf16 on cards of compute capability 8.0 and up and on processors with bf16 instructions; fp16 on older cards (V100); else fp32.

    Raises:
        ValueError: fp16 on a CPU, or bf16 on a card that has none.
    """
    if wanted == "auto":
        if device.type == "cuda":
            return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
        return "bf16" if cpu_has_bf16() else "fp32"
    if wanted == "fp16" and device.type != "cuda":
        raise ValueError("--trainer.precision fp16 needs a GPU; choose fp32 or bf16 here")
    if wanted == "bf16" and device.type == "cuda" and torch.cuda.get_device_capability(device)[0] < 8:
        raise ValueError(f"--trainer.precision bf16: {torch.cuda.get_device_name(device)} has no bf16; choose fp16 or auto")
    return wanted


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context in which a forward runs."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def loss_scaler(precision: str) -> torch.amp.GradScaler:
    """A gradient scaler: at work for fp16, passing everything through otherwise."""
    return torch.amp.GradScaler("cuda", enabled=precision == "fp16")
