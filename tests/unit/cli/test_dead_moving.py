"""Dead letters on their way through a file."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from celeriac.core.attempt import DeadLetter, Outcome

from .conftest import Invoke, Shop

Lines = list[dict[str, Any]]


@pytest.fixture
def file(shop: Shop, cli: Invoke, tmp_path: Path) -> Path:
    """Three exported dead letters, which are gone from the store."""
    for number in range(3):
        shop.fail("shop.charge", (number,), key=f"charge:{number}", body=b"\x00\xff" if number == 2 else None)
    path = tmp_path / "dead.jsonl"
    result = cli("export", "--output", path)
    assert (result.exit_code, result.stderr) == (0, "3 dead letters exported.\n")
    return path


def plain(letters: list[DeadLetter]) -> list[DeadLetter]:
    for letter in letters:
        letter.id = 0
    return letters


def test_what_is_exported_comes_back_whole(shop: Shop, cli: Invoke, file: Path) -> None:
    before = plain(shop.letters())
    assert len(before) == 3, "an export takes nothing away"
    cli("purge", "--all", "--yes")
    assert cli("import", file).stdout == "3 imported\n"
    assert plain(shop.letters()) == before
    assert cli("import", file).stdout == "0 imported, 3 known here\n"
    verbs = [line["did"] for line in json.loads(cli("log", "--json").stdout)]
    assert verbs == ["exported", *["purged"] * 3, *["imported"] * 3]


def test_an_export_is_nobody_else_s_business_and_whole_or_not_there(file: Path) -> None:
    assert file.stat().st_mode & 0o077 == 0
    assert [path.name for path in file.parent.glob("dead*")] == ["dead.jsonl"]


def test_a_file_that_is_there_is_left_alone_unless_told_otherwise(shop: Shop, cli: Invoke, file: Path) -> None:
    before = file.read_bytes()
    cli("purge", "--all", "--yes")
    refused = cli("export", "--output", file)
    assert (refused.exit_code, file.read_bytes()) == (1, before)
    assert f"{file} is there already, and nothing was written: name another file, or replace it with --overwrite" in (
        refused.stderr
    )
    assert cli("export", "--output", file, "--overwrite").stderr == "0 dead letters exported.\n"
    assert file.read_bytes() != before
    assert [path.name for path in file.parent.glob("dead*")] == ["dead.jsonl"]


def test_a_file_that_comes_meanwhile_is_left_alone(
    shop: Shop, cli: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "late.jsonl"

    def export(*_: object) -> int:
        path.write_text("somebody else's")
        return 0

    monkeypatch.setattr("celeriac.desk.export.export", export)
    assert cli("export", "--output", path).exit_code == 1
    assert path.read_text() == "somebody else's"
    assert [each.name for each in tmp_path.glob("late*")] == ["late.jsonl"]


def test_where_there_are_no_links_a_file_is_written_all_the_same(
    shop: Shop, cli: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    path = tmp_path / "dead.jsonl"
    assert cli("export", "--output", path).exit_code == 0
    assert path.exists()


def test_filters_choose_what_is_exported(shop: Shop, cli: Invoke) -> None:
    shop.fail("shop.charge", (7,))
    wanted = shop.fail("shop.mail", (8,))
    *lines, last = map(json.loads, cli("export", "--task", "shop.mail").stdout.splitlines())
    assert [line["task_id"] for line in lines] == [wanted.task_id]
    assert last == {"format": 1, "dead_letters": 1}


def test_what_was_redriven_since_is_not_brought_back(shop: Shop, cli: Invoke, file: Path) -> None:
    cli("redrive", "--all", "--yes")
    assert cli("import", file).stdout == "0 imported, 3 known here\n"


def _without(name: str) -> Callable[[Lines], object]:
    return lambda lines: lines[1].pop(name)


def _with(name: str, value: Any) -> Callable[[Lines], object]:
    return lambda lines: lines[1].update({name: value})


DAMAGES: dict[str, tuple[Callable[[Lines], object], str]] = {
    "a field is missing": (_without("envelope"), "line 2 of the export: envelope is missing"),
    "a number is text": (_with("failed_at", "yesterday"), "line 2 of the export: failed_at is 'yesterday'"),
    "a number is none": (_with("failed_at", float("nan")), "line 2 of the export: failed_at is nan"),
    "a number beyond any": (_with("failed_at", 10**400), "line 2 of the export: failed_at is 1000"),
    "a time beyond any": (_with("acked_at", 1e300), "line 2 of the export: acked_at is 1e+300"),
    "a priority beyond any": (
        _with("priority", 77_777),
        "line 2 of the export: priority is 77777, and 9 is the highest",
    ),
    "half a character": (_with("error", "\ud800"), "line 2 of the export: error is '\\ud800'"),
    "half a character in a body": (_with("body", {"text": "\ud800"}), "line 2 of the export: body has neither"),
    "snoozes are no number": (_with("snoozes", "often"), "line 2 of the export: snoozes is 'often'"),
    "a generation below zero": (_with("generation", -1), "line 2 of the export: generation is -1"),
    "a generation beyond any": (_with("generation", 2**70), "line 2 of the export: generation is"),
    "yes is no number": (_with("priority", True), "line 2 of the export: priority is True"),
    "no body": (_with("body", {}), "line 2 of the export: body has neither"),
    "half a body": (_with("body", {"base64": "AAA"}), "line 2 of the export: body is no base64"),
    "another envelope": (_with("envelope", [{}, {}]), "line 2 of the export: envelope is not"),
    "no task": (_with("task_id", ""), "line 2 of the export: task_id is empty"),
    "an attempt is none": (_with("attempts", [7]), "line 2 of the export: attempts:"),
    "an attempt lacks its end": (_with("attempts", [{}]), "line 2 of the export: attempts: generation is missing"),
    "a format of tomorrow": (_with("format", 2), "line 2 of the export: its format is 2"),
    "a line is gone": (lambda lines: lines.pop(1), "line 3 of the export: it says that there are 3"),
    "the end is gone": (lambda lines: lines.pop(), "line 4 of the export: the end is missing"),
    "something follows the end": (lambda lines: lines.append(lines[0]), "line 5 of the export: something follows"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_export_names_the_line_and_imports_nothing(shop: Shop, cli: Invoke, file: Path, name: str) -> None:
    damage, said = DAMAGES[name]
    cli("purge", "--all", "--yes")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    damage(lines)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = cli("import", file)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Nothing was imported" in result.stderr
    assert shop.letters() == []


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        (lambda text: text[: len(text) // 2], "is no JSON"),
        (lambda text: text.replace(b"shop", b"sh\xffp", 3), "no UTF-8"),
    ],
    ids=["cut off", "a byte is another"],
)
def test_a_damaged_file(shop: Shop, cli: Invoke, file: Path, cut: Callable[[bytes], bytes], said: str) -> None:
    cli("purge", "--all", "--yes")
    file.write_bytes(cut(file.read_bytes()))
    result = cli("import", file)
    assert result.exit_code == 1
    assert said in result.stderr
    assert shop.letters() == []


def test_a_line_that_is_nested_without_end(shop: Shop, cli: Invoke, file: Path) -> None:
    cli("purge", "--all", "--yes")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], "[" * 200_000]))
    result = cli("import", file)
    assert result.exit_code == 1
    assert "line 3 of the export: it is no JSON" in result.stderr
    assert shop.letters() == []


def test_what_an_older_version_has_exported_comes_back(shop: Shop, cli: Invoke, file: Path) -> None:
    cli("purge", "--all", "--yes")
    *lines, last = map(json.loads, file.read_text().splitlines())
    for line in lines:
        del line["snoozes"]
    file.write_text("".join(json.dumps(line) + "\n" for line in [*lines, last]))
    assert cli("import", file).stdout == "3 imported\n"
    assert [letter.snoozes for letter in shop.letters()] == [0, 0, 0]


def test_the_count_of_snoozes_comes_back(shop: Shop, cli: Invoke, tmp_path: Path) -> None:
    shop.publish()
    delivery = shop.claim()
    shop.settle(delivery, Outcome.SNOOZED, snooze_until=shop.store.now() - 1)
    shop.bury(shop.claim())
    cli("export", "--output", tmp_path / "dead.jsonl")
    cli("purge", "--all", "--yes")
    cli("import", tmp_path / "dead.jsonl")
    assert [letter.snoozes for letter in shop.letters()] == [1]


def test_lines_may_be_left_out_on_purpose(shop: Shop, cli: Invoke, file: Path) -> None:
    cli("purge", "--all", "--yes")
    file.write_text(file.read_text().splitlines()[1] + "\n\n")
    assert cli("import", file, "--partial", "--dry-run").stdout == "1 would be imported; nothing was done\n"
    assert shop.letters() == []
    assert cli("import", file, "--partial").stdout == "1 imported\n"


def test_a_file_that_cannot_be_written(shop: Shop, cli: Invoke, tmp_path: Path) -> None:
    shop.fail()
    result = cli("export", "--output", tmp_path / "nowhere" / "dead.jsonl")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert shop.store.actions() == []
