from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import hygiene

HERE = hygiene.personal_path(Path("/build/checkout"))
#: Put together here, so that this file passes its own rule.
ROOTED = "/{}/x"
HOSTED = "https://{}.{}/simple"


def _faults(text: str) -> list[int]:
    return [number for number, _ in hygiene.problems(text, [("path", HERE), ("registry", hygiene.REGISTRY)])]


@pytest.mark.parametrize("folder", ["home", "root", "tmp", "Users", "build"])
@pytest.mark.parametrize("around", ["{}", "open('{}')", 'x = "{}"', "sqlite:///{}", "[a]({})", "PATH={}", "a:{}"])
def test_a_path_of_one_machine_is_refused(folder: str, around: str) -> None:
    text = around.format(ROOTED.format(folder))
    # The URL of an absolute path has its slash doubled by the path's own.
    assert _faults(f"fine\n{text}") == ([2] if not text.startswith("sqlite") else [])


@pytest.mark.parametrize("text", ["/var/lib/shop", "/usr/bin/env", "src/tmp/x", "a/home/b", "/tmpl/x", "{root}/tmp/x"])
def test_other_paths_pass(text: str) -> None:
    assert _faults(text) == []


def test_a_checkout_below_a_folder_of_the_system_adds_nothing() -> None:
    assert not hygiene.personal_path(Path("/opt/celeriac")).search("/opt/venv/bin/python")
    assert hygiene.personal_path(Path("/build/celeriac")).search("/build/x")


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("pypi", "org"),
        ("files.example", "org"),
        ("registry.example", "io"),
        ("deb.example", "org"),
        ("index.x-y", "com"),
    ],
)
def test_the_address_of_a_registry_is_refused(name: str, domain: str) -> None:
    assert _faults(HOSTED.format(name, domain)) == [1]


@pytest.mark.parametrize(
    "text", ["https://docs.celeryq.dev/en/stable", "the PyPI package", "packages.append(x)", "x.index.y"]
)
def test_other_addresses_pass(text: str) -> None:
    assert _faults(text) == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("ignored.txt\n")
    return tmp_path


def test_files_that_git_would_add_are_read(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "new file.txt").write_text("fine\n" + ROOTED.format("root"))
    assert hygiene.main(checkout) == 1
    assert capsys.readouterr().err == f"new file.txt:2: a path of one machine: {ROOTED.format('root')}\n"


def test_a_clean_tree_passes_whatever_is_ignored_removed_linked_or_binary(checkout: Path) -> None:
    (checkout / "ignored.txt").write_text(ROOTED.format("root"))
    (checkout / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    (checkout / "link").symlink_to("ignored.txt")
    (checkout / "removed.txt").write_text("fine")
    subprocess.run(["git", "add", "removed.txt"], cwd=checkout, check=True)
    (checkout / "removed.txt").unlink()
    assert hygiene.main(checkout) == 0
