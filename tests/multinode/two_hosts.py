"""Two network namespaces that stand for two hosts: each its own network card and address, a cable between them that can be pulled.

What differs from two machines: they share the file system (as nodes of a cluster do for runs), the processor and the host's name.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
ADDRESSES = ("10.77.0.1", "10.77.0.2")
CARD = "eth0"
PORT = 29500
PREFIX = "reelgoods"
PATIENCE_S = 240.0
"""How long a command may take before it counts as hanging."""


class Command:
    """A command that was started on a host; what it writes goes into a file, which no process that outlives it can hold open."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self._written = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed with this object)
        self._process = subprocess.Popen(words, cwd=CHECKOUT, env=environment, stdout=self._written, stderr=subprocess.STDOUT)

    def running(self) -> bool:
        return self._process.poll() is None

    def end(self) -> tuple[int, str]:
        """(exit code, output), once it has ended."""
        code = self._process.wait()
        self._written.seek(0)
        return code, self._written.read()


class Host:
    """One of the two: commands run in its namespace, as on a node of a cluster."""

    def __init__(self, namespace: str, number: int) -> None:
        self.namespace, self.number, self.address = namespace, number, ADDRESSES[number]

    def start(self, script: str, *flags: str, torchrun: str = "", **environment: str) -> Command:
        """`bash script flags` from the checkout, one rank on each of two nodes, met at the first host's address."""
        cleared = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHRUN_ARGS")
        own = {name: value for name, value in os.environ.items() if name not in cleared} | {
            "REELGOODS_PYTHON": sys.executable,
            "OMP_NUM_THREADS": "1",
            "NNODES": "2",
            "NPROC_PER_NODE": "1",
            "GLOO_SOCKET_IFNAME": CARD,
            "TORCHRUN_ARGS": f"--local_addr {self.address} {torchrun}",
        }
        command = ["ip", "netns", "exec", self.namespace, "bash", str(CHECKOUT / script), *flags]
        return Command(command, own | environment)

    def unplug(self) -> None:
        """Pull the cable at this host: nothing goes in or out any more, and nobody is told."""
        _ip("-n", self.namespace, "link", "set", CARD, "down")

    def plug_in(self) -> None:
        """Put the cable back."""
        _ip("-n", self.namespace, "link", "set", CARD, "up")


class TwoHosts:
    """Both hosts, the first of which is node 0."""

    def __init__(self, namespaces: tuple[str, str]) -> None:
        self._namespaces = namespaces
        self.first, self.second = (Host(namespace, number) for number, namespace in enumerate(namespaces))

    def start(self, script: str, *flags: str) -> list[Command]:
        """The same command on both, with the rendezvous that launch/run.sh makes of MASTER_ADDR and NODE_RANK."""
        met_at = {"MASTER_ADDR": self.first.address, "MASTER_PORT": str(PORT)}
        return [host.start(script, *flags, NODE_RANK=str(host.number), **met_at) for host in (self.first, self.second)]

    def start_c10d(self, script: str, *flags: str) -> list[Command]:
        """The same command on both, with torchrun's elastic rendezvous; the first host keeps its store."""
        place = f"--rdzv_backend c10d --rdzv_endpoint {self.first.address}:{PORT} --rdzv_id test"
        return [host.start(script, *flags, torchrun=f"{place} --rdzv_conf is_host={int(host is self.first)}") for host in (self.first, self.second)]

    def ends(self, started: list[Command]) -> list[tuple[int, str]]:
        """(exit code, output) of every command, once nothing runs on the hosts any more. Raises AssertionError where something hangs."""
        until = time.monotonic() + PATIENCE_S
        while hangs := any(command.running() for command in started) or any(map(_processes, self._namespaces)):
            if time.monotonic() > until:
                break
            time.sleep(0.1)
        ended = self._stop(started)
        assert not hangs, f"still running after {PATIENCE_S:g} s:\n" + "\n".join(output for _, output in ended)
        return ended

    def wait_for(self, happened: Callable[[], bool], started: list[Command]) -> None:
        """Return as soon as `happened`. Raises AssertionError with the outputs where a command ends before, or nothing happens."""
        until = time.monotonic() + PATIENCE_S
        while not happened():
            if not all(command.running() for command in started) or time.monotonic() > until:
                raise AssertionError("\n".join(output for _, output in self._stop(started)))
            time.sleep(0.01)

    def _stop(self, started: list[Command]) -> list[tuple[int, str]]:
        """Kill whatever runs on both; (exit code, output) of every command."""
        for namespace in self._namespaces:
            _kill(namespace)
        return [command.end() for command in started]


def why_not() -> str | None:
    """Why this machine cannot play two hosts; None where it can."""
    if not sys.platform.startswith("linux"):
        return "needs Linux, which has network namespaces"
    if os.geteuid() != 0:
        return "needs root, which alone may make network namespaces"
    if shutil.which("ip") is None:
        return "needs the command ip (iproute2)"
    name = f"{PREFIX}-{os.getpid()}-0"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"`ip netns add` fails here: {tried.stderr.strip()}"
    _ip("netns", "delete", name)
    return None


@contextmanager
def two_hosts() -> Iterator[TwoHosts]:
    """Two hosts with a cable between them; when the block ends, whatever still runs on them is killed and they are gone."""
    _clear_leftovers()
    namespaces = (f"{PREFIX}-{os.getpid()}-1", f"{PREFIX}-{os.getpid()}-2")
    try:
        for namespace in namespaces:
            _ip("netns", "add", namespace)
        _ip("link", "add", CARD, "netns", namespaces[0], "type", "veth", "peer", "name", CARD, "netns", namespaces[1])
        for namespace, address in zip(namespaces, ADDRESSES):
            _ip("-n", namespace, "address", "add", f"{address}/24", "dev", CARD)
            _ip("-n", namespace, "link", "set", "lo", "up")
            _ip("-n", namespace, "link", "set", CARD, "up")
        yield TwoHosts(namespaces)
    finally:
        for namespace in namespaces:
            _remove(namespace)


def _clear_leftovers() -> None:
    """Remove the hosts of a test run that was killed itself."""
    for namespace, process in re.findall(rf"^({PREFIX}-(\d+)-[012])\b", _ip("netns", "list"), re.MULTILINE):
        if not Path("/proc", process).exists():
            _remove(namespace)


def _remove(namespace: str) -> None:
    _kill(namespace)
    subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)


def _kill(namespace: str) -> None:
    for process in _processes(namespace):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _processes(namespace: str) -> list[int]:
    listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True)
    return [int(process) for process in listed.stdout.split()]


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"
    return done.stdout
