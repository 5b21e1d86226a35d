"""The names that the page may be asked for by: a foreign page can have a name of its own lead here (DNS rebinding), but it cannot choose ours.

Nor can it have a number lead elsewhere: an address in digits is where the browser went, so a page that more than this machine reaches may
answer to all of them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::[0-9]+)?", re.IGNORECASE)


class Names:
    """The names of this machine for itself, and `others`.

    Args:
        others: names or addresses, without a scheme and a port.
        any_address: addresses in digits, too, whichever they are.

    Raises ValueError where one of `others` is no name.
    """

    def __init__(self, others: Sequence[str] = (), any_address: bool = False) -> None:
        for name in others:
            if not is_address(name) and not re.fullmatch(r"[a-z0-9_.-]+", name, re.IGNORECASE):
                raise ValueError(f"--names {name}: a name such as box.example, without http://, a port or a *")
        self._names = tuple(dict.fromkeys([*LOOPBACK, *(name.lower() for name in others)]))
        self._any_address = any_address

    def __contains__(self, host: str) -> bool:
        """Whether a request may be made to `host`, a name with or without a port."""
        name = name_of(host)
        return name in self._names or (self._any_address and is_address(name))

    def __str__(self) -> str:
        """All of them, in words."""
        return f"{', '.join(self._names)}{' and every address in digits' if self._any_address else ''}"


def name_of(host: str) -> str:
    """The name in `host`, which may have a port, in lower case and without an address's brackets; "" where it has another form."""
    parts = _HOST.fullmatch(host)
    return (parts[1] or parts[2]).lower() if parts else ""


def is_address(name: str) -> bool:
    """Whether `name` is an address in digits."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
