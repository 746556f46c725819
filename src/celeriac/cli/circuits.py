"""``celery -A app circuits``: what tasks depend on, whether it is called now, and switching that by hand."""

from __future__ import annotations

import getpass
import socket
import time
from typing import Any

import click
from kombu.utils.url import maybe_sanitize_url

from celeriac.cli.ages import age, ago, iso, lasting, utc
from celeriac.cli.group import Group, app_of
from celeriac.cli.screen import echo, plural, to_json, width
from celeriac.cli.text import Column, one_line, table
from celeriac.execution.circuits import Circuits, CircuitStatus

_COLOURS = {"closed": "green", "open": "red", "half-open": "yellow"}
_COLUMNS = (
    Column("CIRCUIT", least=10),
    Column("STATE", style=lambda text: click.style(text, fg=_COLOURS.get(text.strip()))),
    Column("SINCE"),
    Column("PROBES"),
    Column("FAILED", right=True),
    Column("PUT OFF", right=True),
    Column("BY", least=8),
)

name_argument = click.argument("name")
note_option = click.option("--note", help="Why, for those who look at the list.")


@click.group(cls=Group, short_help="Look at circuit breakers; open and close them by hand.")
def circuits() -> None:
    """Circuit breakers: what tasks depend on, and whether it is called now."""


def circuits_of(context: click.Context) -> Circuits:
    """The app's circuits, those of all its task modules.

    Raises:
        click.UsageError: nothing keeps what its workers know of them.
    """
    app = app_of(context)
    if not app.has_ledger:
        raise click.UsageError(
            f"The broker of {app.main or '?'} is {maybe_sanitize_url(app.conf.broker_url or '?')}, which keeps no circuits, so "
            'each worker process has its own; name a ledger beside it, ledger="postgresql://…"'
        )
    app.loader.import_default_modules()
    found: Circuits = app.circuits
    return found


@circuits.command("list", short_help="List those that tasks declare, or that have a state.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List every circuit that a task declares, and every one that has a state."""
    found, store = circuits_of(context).list(), context.obj.app.store
    if as_json:
        echo(to_json([_document(one) for one in found]))
    elif found:
        echo("\n".join(table(_COLUMNS, [_row(one, store.now()) for one in found], width())))
        echo(f"\n{plural(len(found), 'circuit')} in {one_line(store.location)}.")
    else:
        echo('There are none; a task declares one with circuits=[Circuit("gateway")].')


@circuits.command("open", short_help="Keep back all that depends on it.")
@name_argument
@click.option(
    "--for", "seconds", callback=age, metavar="AGE", help="Let probes through after 90s, 15m, 2h, 3d; else not."
)
@note_option
@click.pass_context
def open_(context: click.Context, name: str, seconds: float | None, note: str | None) -> None:
    """Keep back all that depends on it, until it is closed by hand or some time has passed."""
    circuits_of(context).open(name, seconds, by=_who(), note=note)
    until = "it is closed by hand" if seconds is None else f"probes succeed, from {utc(time.time() + seconds)} on"
    echo(f"{one_line(name)} is open until {until}; tasks that depend on it are put off.")


@circuits.command()
@name_argument
@note_option
@click.pass_context
def close(context: click.Context, name: str, note: str | None) -> None:
    """Let everything through again, and count anew."""
    circuits_of(context).close(name, by=_who(), note=note)
    echo(f"{one_line(name)} is closed; what was put off comes back in its time.")


@circuits.command(short_help="Forget all that is known of it.")
@name_argument
@click.pass_context
def reset(context: click.Context, name: str) -> None:
    """Forget all that is known of it, as of a name that is no longer used."""
    done = circuits_of(context).reset(name)
    echo(f"{one_line(name)} is forgotten." if done else f"Nothing was known of {one_line(name)}.")


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name, as in a container
        return socket.gethostname()


def _row(one: CircuitStatus, now: float) -> list[str]:
    calls = one.succeeded + one.failed
    by = " ".join(part for part in (one.by, f"({one.note})" if one.note else "") if part)
    return [
        one_line(one.name),
        one.state,
        "" if one.since is None else ago(now - one.since),
        _probes(one, now),
        f"{one.failed:,} of {calls:,}" if calls else "",
        f"{one.kept_back:,}" if one.kept_back else "",
        one_line(by),
    ]


def _probes(one: CircuitStatus, now: float) -> str:
    if one.state != "open":
        return "now" if one.state == "half-open" else ""
    if one.until is None:
        return "when closed"
    return f"in {lasting(one.until - now)}" if one.until > now else "now"


def _document(one: CircuitStatus) -> dict[str, Any]:
    return {
        "name": one.name,
        "state": one.state,
        "since": iso(one.since),
        "until": iso(one.until),
        "succeeded": one.succeeded,
        "failed": one.failed,
        "kept_back": one.kept_back,
        "by": one.by,
        "note": one.note,
        "declared": one.declared is not None,
    }
