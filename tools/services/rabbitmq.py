"""RabbitMQ, as a node of its own; the file is also the program that starts it.

Debian's script of the same name on PATH starts it as a user of its own with the data of the system's service. The one below
/usr/lib runs it as whoever calls, with everything it reads and writes in one folder. Erlang's nodes find each other through a
daemon, epmd, that outlives them and listens everywhere. This node needs none: its port for `rabbitmqctl` is written down.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

USER, PASSWORD = "celeriac", "celeriac"
NODE = "celeriac@localhost"
#: A file in the server's folder, with lines for its configuration.
MORE = "more.conf"
#: Where Debian puts the scripts that change no user.
_DEBIAN = "/usr/lib/rabbitmq/bin"
#: What a client says first, and what a server that is ready answers: the method connection.start on channel 0.
_GREETING, _START = b"AMQP\x00\x00\x09\x01", (b"\x01\x00\x00", b"\x00\x0a\x00\x0a")
#: One scheduler that never spins, since tests share the machine with it.
_ERLANG = "+S 1:1 +sbwt none +A 8"
_CONFIGURATION = f"""\
listeners.tcp.1 = 127.0.0.1:{{port}}
default_user = {USER}
default_pass = {PASSWORD}
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 67108864
log.console = true
log.console.level = info
log.file = false
"""


class RabbitMQ:
    name = "rabbitmq"
    variable = "CELERIAC_AMQP_URL"
    program = "rabbitmq-server"
    package = "rabbitmq-server"
    port = 5672
    ends_with = "SIGTERM"

    def path(self, path: str | None) -> str:
        return os.pathsep.join([_DEBIAN, path or os.defpath])

    def command(self, program: str, port: int, folder: Path) -> list[str]:
        return [sys.executable, __file__, program, str(port), str(folder)]

    def url(self, host: str, port: int) -> str:
        return f"amqp://{USER}:{PASSWORD}@{host}:{port}//"

    def answers(self, url: str) -> bool:
        with contextlib.suppress(OSError):
            return _greeted(url)
        return False


def _greeted(url: str) -> bool:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5672), timeout=2) as connection:
        connection.sendall(_GREETING)
        with connection.makefile("rb") as answers:
            answer = answers.read(11)
    return answer.startswith(_START[0]) and answer.endswith(_START[1])


def control(program: str, port: int, folder: Path, *arguments: str, seconds: float = 30) -> str:
    """What `rabbitmqctl` says of the node that `program` serves on `port`.

    Raises:
        subprocess.SubprocessError: it failed, or took longer than `seconds`.
    """
    node = _node(port, folder)
    ask = f"-start_epmd false -erl_epmd_port {(node / 'distribution').read_text()} -dist_listen false"
    script = str(Path(program).with_name("rabbitmqctl"))
    return subprocess.run(
        [script, "--silent", "--node", NODE, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds,
        env=_environment(node) | {"RABBITMQ_CTL_ERL_ARGS": ask},
    ).stdout


def _node(port: int, folder: Path) -> Path:
    """A node that comes back on its port finds its data again."""
    return folder / f"node-{port}"


def _environment(node: Path) -> dict[str, str]:
    """Nothing that was meant for another node, or written for one below /etc."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
    return theirs | {
        "HOME": str(node),  # where the secret is that lets `rabbitmqctl` in
        "RABBITMQ_CONF_ENV_FILE": str(node / "environment"),
        "RABBITMQ_CONFIG_FILE": str(node / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(node / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(node / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(node / "data"),
        "RABBITMQ_LOG_BASE": str(node / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(node / "pid"),
        "RABBITMQ_NODENAME": NODE,
    }


def _prepared(port: str, folder: Path) -> Path:
    node = _node(int(port), folder)
    for earlier in set(folder.glob("node-*")) - {node}:
        shutil.rmtree(earlier, ignore_errors=True)
    node.mkdir(exist_ok=True)
    (node / "environment").touch()
    (node / "plugins").write_text("[].\n")
    more = folder / MORE
    (node / "rabbitmq.conf").write_text(_CONFIGURATION.format(port=port) + (more.read_text() if more.exists() else ""))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        (node / "distribution").write_text(str(probe.getsockname()[1]))
    return node


def main(program: str, port: str, folder: str) -> None:
    """Become the server."""
    node = _prepared(port, Path(folder))
    found = f"-start_epmd false -erl_epmd_port {(node / 'distribution').read_text()}"
    alone = "-kernel inet_dist_use_interface {127,0,0,1}"
    environment = _environment(node) | {
        "RABBITMQ_NODE_PORT": port,
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        # With a name from the start it looks for no daemon.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-sname {NODE} {found} {alone} {_ERLANG}",
        # Otherwise the script stays in front of the server, and a signal meets the script.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
    os.execve(program, [program], environment)  # noqa: S606  # it takes this process's place


RABBITMQ = RabbitMQ()

if __name__ == "__main__":
    main(*sys.argv[1:])
