from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.hosts import Hosts, NoHosts

#: Tells whether the other host answers: nobody listens there, and it says so, or nothing comes back.
ASK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=1)
except ConnectionRefusedError:
    print("answers")
except OSError:
    print("silent")
"""


def answers(hosts: Hosts) -> bool:
    command = hosts.on("one", [sys.executable, "-c", ASK, hosts.address("other")])
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout == "answers\n"


def spaces() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listed.splitlines()}


def test_hosts_are_parted_and_joined_and_gone_afterwards() -> None:
    mine: set[str] = set()
    try:
        with Hosts("one", "other") as hosts:
            mine = {space for space in spaces() if hosts._mark in space}
            assert len(mine) == 3
            assert answers(hosts)
            for part in (hosts.unplug, hosts.swallow):
                part("other")
                assert not answers(hosts)
                hosts.heal("other")
                assert answers(hosts)
            raise KeyError
    except NoHosts as lack:
        pytest.skip(str(lack))
    except KeyError:
        assert not mine & spaces()


def test_without_the_program_it_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoHosts, match="`make services` installs"), Hosts("one"):
        pass
