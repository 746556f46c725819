"""``celery -A app limits``: what runs under limits, and what waits for them."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.group import Command, app_of
from celeriac.cli.screen import echo, plural, to_json, width
from celeriac.cli.text import Column, one_line, table
from celeriac.core.limits import Rule
from celeriac.desk.limits import LimitState

#: Lines that are shown unless more are asked for.
SHOWN = 50
#: A number of starts that is this near to a whole one is one.
_WHOLE = 1e-6


@click.command(cls=Command, short_help="Show what runs under limits, and what waits for them.")
@click.option("--name", help="Only the limits of this name.")
@click.option("--most", default=SHOWN, show_default=True, type=click.IntRange(1), help="Lines, the most waiting first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
@click.pass_context
def limits(context: click.Context, name: str | None, most: int, as_json: bool) -> None:
    """Each limit and value of its key under which tasks run or wait now, and how many."""
    app = app_of(context)
    found = [state for state in app.limits if name in (None, state.name)]
    if as_json:
        echo(to_json([_document(state) for state in found]))
        return
    if not found:
        echo(_nothing(app, name))
        return
    rows = [_row(state) for state in found[:most]]
    heads = [
        Column("LIMIT", least=12),
        Column("KEY", least=8, keep_end=True),
        Column("ALLOWS"),
        Column("RUNNING", right=True),
        Column("WAITING", right=True),
    ]
    echo("\n".join(table(heads, rows, width())))
    more = f"; --most {len(found)} shows all" if len(found) > most else ""
    echo(f"\n{plural(len(found), 'limit')} in use in {one_line(app.store.location)}{more}.")


def _nothing(app: Any, name: str | None) -> str:
    declared = app.limits.declared()
    if name is not None and name not in declared:
        return "\n".join([f"No task declares a limit named {name!r}, and nothing waits for one.", *_listed(declared)])
    return "\n".join(["Nothing runs or waits under a limit now.", *_listed(declared)])


def _listed(declared: dict[str, Rule]) -> list[str]:
    if not declared:
        return ["None is declared."]
    rows = [[one_line(name), allows(rule)] for name, rule in sorted(declared.items())]
    return ["", *table([Column("DECLARED", least=12), Column("ALLOWS")], rows, width())]


def allows(rule: Rule | None) -> str:
    """The numbers of a limit in words."""
    if rule is None:
        return "?"
    said = []
    if rule.slots is not None:
        said.append(f"{rule.slots} at once")
    if rule.every is not None:
        said.append(_rate(rule.every))
    return ", ".join(said) or "turns"


def _rate(every: float) -> str:
    """As a person would say it: whole numbers, of the shortest time that has them."""
    rates = [(unit, seconds / every) for unit, seconds in (("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0))]
    unit, count = next((each for each in rates if each[1] >= 1 and abs(each[1] - round(each[1])) < _WHOLE), rates[-1])
    return f"{count:,.6g}/{unit}"


def _row(state: LimitState) -> list[str]:
    numbers = ("-" if state.running is None else f"{state.running:,}", f"{state.waiting:,}")
    return [one_line(state.name), one_line(state.value) or "-", allows(state.rule), *numbers]


def _document(state: LimitState) -> dict[str, Any]:
    rule = state.rule._asdict() if state.rule else None
    return {**state._asdict(), "rule": rule}
