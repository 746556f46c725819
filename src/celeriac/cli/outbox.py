"""``celery -A app outbox``: what was published in an application's transactions, and is on its way."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import click
from kombu.exceptions import OperationalError

from celeriac.cli.ages import ago
from celeriac.cli.group import Group, app_of, outsides, sql_command
from celeriac.cli.screen import echo, plural, to_json
from celeriac.cli.text import one_line
from celeriac.errors import StoreUnavailable
from celeriac.publish.relay import Relay
from celeriac.store.outbox import OutboxReader, Waiting
from celeriac.worker.outboxes import Relaying

urls = click.argument("urls", metavar="[URL]...", nargs=-1)


@click.group(cls=Group, short_help="Look at, and empty, the outbox in a database of the application's.")
def outbox() -> None:
    """Messages published in `app.transaction()` on a database that is not the broker's."""


outbox.add_command(sql_command("outbox"))


@outbox.command()
@urls
@click.option("--follow", is_flag=True, help="Go on until interrupted, as a worker does.")
@click.pass_context
def relay(context: click.Context, urls: tuple[str, ...], follow: bool) -> None:
    """Give the broker what waits.

    URL is postgresql://… or sqlite:///…; without one, those of celeriac_outboxes.
    """
    app = app_of(context)
    relays = [Relay(app, outside) for outside in outsides(app, urls)]
    if follow:
        _follow(relays)
        return
    for one in relays:
        with closing(one.outside):
            echo(f"{plural(_drain(one), 'message')} from {one_line(one.outside.location)} sent.")


def _drain(one: Relay) -> int:
    total = 0
    try:
        while given := one.once():
            total += given
    except (OperationalError, OSError) as error:
        raise click.ClickException(f"the broker does not answer, and what waits goes on waiting: {error}") from error
    return total


def _follow(relays: list[Relay]) -> None:
    stop = threading.Event()
    threads = [threading.Thread(target=Relaying(one, stop).run, daemon=True) for one in relays]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        stop.set()


@outbox.command()
@urls
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
@click.pass_context
def status(context: click.Context, urls: tuple[str, ...], as_json: bool) -> None:
    """Show what waits, by queue, and what the broker refused.

    URL is postgresql://… or sqlite:///…; without one, those of celeriac_outboxes.
    """
    app = app_of(context)
    ours = _Ours(app)
    found = []
    for outside in outsides(app, urls):
        with closing(outside):
            found.append((outside.location, OutboxReader(outside, ("", "")).status()))
    if as_json:
        echo(to_json([_document(where, one, ours) for where, all_ in found for one in all_]))
        return
    for where, waiting in found:
        lines = [_line(one, ours) for one in waiting] or ["nothing waits"]
        echo("\n".join([f"{one_line(where)}:", *lines]))


class _Ours:
    """Tells what is for the app's broker: true or false, or None where only the broker knows and is away."""

    def __init__(self, app: Any) -> None:
        self._names = {app.broker_name}
        try:
            self._names.add(app.destination)
        except StoreUnavailable:
            self._otherwise: bool | None = None
        else:
            self._otherwise = False

    def __call__(self, one: Waiting) -> bool | None:
        return True if one.destination in self._names else self._otherwise


def _document(where: str, one: Waiting, ours: _Ours) -> dict[str, Any]:
    return {"outbox": where, "ours": ours(one), **one._asdict()}


def _line(one: Waiting, ours: _Ours) -> str:
    whose = f", for another broker ({one_line(one.destination)})" if ours(one) is False else ""
    refused = f", {one.refused:,} refused: {one_line(one.error or '')}" if one.refused else ""
    return f"  {one_line(one.queue)}: {plural(one.waiting, 'message')}, the oldest {ago(one.oldest)}{whose}{refused}"
