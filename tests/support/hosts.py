"""Hosts of their own, as network namespaces on one switch: each can be cut off from the others, loudly or in silence."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

#: What a bridge's port does: nothing, or pass frames on.
_DISABLED, _FORWARDING = "0", "3"


class NoHosts(Exception):
    """There can be none here; the text says what is missing."""


class Unprivileged(NoHosts):
    """This process may not make any."""


class Hosts:
    """As many hosts as are named; they are gone when the block is left.

    Nothing of the machine's own network is touched: the switch is in a namespace too.
    """

    def __init__(self, *names: str) -> None:
        self._mark = uuid.uuid4().hex[:6]
        self.names = names

    def address(self, name: str) -> str:
        """The host's address, which leads to it from the others alone."""
        return f"10.83.0.{self.names.index(name) + 1}"

    @property
    def subnet(self) -> str:
        return "10.83.0.0/24"

    def on(self, name: str, command: Sequence[str]) -> list[str]:
        """The command that runs another on a host; its process becomes the other's."""
        return ["ip", "netns", "exec", self._space(name), *command]

    def unplug(self, name: str) -> None:
        """Both ends are told."""
        _run("ip", "-n", self._space(""), "link", "set", self._port(name), "down")

    def swallow(self, name: str) -> None:
        """Nothing comes through, and nobody is told."""
        self._set_state(name, _DISABLED)

    def heal(self, name: str) -> None:
        _run("ip", "-n", self._space(""), "link", "set", self._port(name), "up")
        self._set_state(name, _FORWARDING)

    def _set_state(self, name: str, state: str) -> None:
        _run(*self.on("", ["bridge", "link", "set", "dev", self._port(name), "state", state]))

    def _space(self, name: str) -> str:
        return f"celeriac-{self._mark}-{name or 'switch'}"

    def _port(self, name: str) -> str:
        return f"p{self._mark}{self.names.index(name)}"

    def __enter__(self) -> Self:
        if shutil.which("ip") is None:
            raise NoHosts("there is no `ip` on this machine: `make services` installs Debian's iproute2, as root")
        try:
            self._build()
        except subprocess.CalledProcessError as error:
            self._remove()
            raise Unprivileged(
                f"network namespaces need the capabilities CAP_SYS_ADMIN and CAP_NET_ADMIN ({error.stderr.strip()})"
            ) from error
        except BaseException:
            self._remove()
            raise
        return self

    def _build(self) -> None:
        switch = self._space("")
        _run("ip", "netns", "add", switch)
        _run("ip", "-n", switch, "link", "add", "switch", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "switch", "up")
        for name in self.names:
            self._add(switch, name)

    def _add(self, switch: str, name: str) -> None:
        space, port = self._space(name), self._port(name)
        _run("ip", "netns", "add", space)
        _run("ip", "-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
        _run("ip", "-n", switch, "link", "set", port, "master", "switch")
        _run("ip", "-n", switch, "link", "set", port, "up")
        _run("ip", "-n", space, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", space, "link", "set", device, "up")

    def _remove(self) -> None:
        for name in (*self.names, ""):
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "delete", self._space(name))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._remove()


def _run(*command: str) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
