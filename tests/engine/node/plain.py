"""Plain Erlang nodes: `erl` without any release, on loopback, without epmd, ended by pid."""

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from engine.node.address import Address
from engine.node.connection import Connection
from engine.node.cookie import Cookie

COOKIE = "cookie-of-a-test"
START_TIMEOUT_S = 60.0
IPV6 = "::1"


@dataclass
class PlainNode:
    """One running `erl`."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"

    @classmethod
    def start(cls, folder: Path, port: int, *flags: str, name: str | None = None) -> "PlainNode":
        """Start it and wait until it listens.

        Args:
            folder: Its working folder and home.
            flags: Further ones of `erl`.
            name: Full name; one made of the port when not given. One at ::1 listens there, by IPv6.
        """
        folder.mkdir(parents=True, exist_ok=True)
        name = name or f"plain{port}@127.0.0.1"
        host = name.partition("@")[2]
        kind = "-name" if {".", ":"} & set(host) else "-sname"
        interface = "{0,0,0,0,0,0,0,1}" if host == IPV6 else "{127,0,0,1}"
        line = ["erl", "-noinput", kind, name, "-setcookie", COOKIE, "-start_epmd", "false"]
        line += ["-erl_epmd_port", str(port), "-kernel", "inet_dist_use_interface", interface]
        environment = {**os.environ, "HOME": str(folder)}
        line += [*flags, "-test_folder", f"{folder}/"]
        with (folder / "out").open("wb") as output:
            process = subprocess.Popen(
                line, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        node = cls(name, port, process)
        try:
            node.wait_for_listener(folder / "out")
        except BaseException:
            node.end()
            raise
        return node

    def wait_for_listener(self, output: Path) -> None:
        """Return when it takes connections and has booted.

        Raises:
            AssertionError: It ended, or did not begin in time; with what it said.
        """
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until and self.process.poll() is None:
            if self.listens() and self.has_booted():
                return
            time.sleep(0.05)
        raise AssertionError(f"erl does not listen: {output.read_text(errors='replace')[-2000:]}")

    def listens(self) -> bool:
        """Whether it takes connections."""
        family = socket.AF_INET6 if self.host == IPV6 else socket.AF_INET
        with socket.socket(family) as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def has_booted(self) -> bool:
        """Whether its start is over; it listens before."""
        with self.connect() as connection:
            return connection.call("init", "get_status", timeout_s=START_TIMEOUT_S) == ("started", "started")

    @property
    def host(self) -> str:
        """The loopback address that it listens at."""
        return IPV6 if self.name.endswith(f"@{IPV6}") else "127.0.0.1"

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address(self.name, self.host, self.port)

    def connect(self, *, cookie: str = COOKIE, timeout_s: float = 20.0) -> Connection:
        """An open connection to it."""
        return Connection(self.address, cookie=Cookie(cookie), timeout_s=timeout_s)

    def stop(self) -> None:
        """Freeze it: its sockets stay open and nothing answers.

        The signal stops one thread after the other; a scheduler that still runs would answer, so each is waited for.
        """
        os.kill(self.process.pid, signal.SIGSTOP)
        until = time.monotonic() + START_TIMEOUT_S
        while not self.is_stopped():
            assert time.monotonic() < until, f"{self.name} does not stop"
            time.sleep(0.001)

    def is_stopped(self) -> bool:
        """Whether every one of its threads stands still (state T, proc(5), /proc/PID/task/TID/stat)."""
        tasks = Path("/proc", str(self.process.pid), "task")
        return all(
            (task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks.iterdir()
        )

    def go_on(self) -> None:
        """Thaw it."""
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.process.pid, signal.SIGKILL)

    def end(self) -> None:
        """End it, however it is."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
