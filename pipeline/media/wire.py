"""What travels between a decoder and its process: a length, that many bytes of JSON, then raw bytes that the JSON announces."""

from __future__ import annotations

import json
import struct
from typing import Any

LENGTH = struct.Struct("<I")


def packed(header: dict[str, Any]) -> bytes:
    """`header` as JSON behind its length."""
    text = json.dumps(header).encode()
    return LENGTH.pack(len(text)) + text
