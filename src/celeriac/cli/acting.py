"""What is done to many dead letters: redriven, acknowledged, opened again, purged."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import click

from celeriac.cli.ages import lasting
from celeriac.cli.bulk import SHOWN, Action, Tally, ask, carry_out, report
from celeriac.cli.choosing import as_, choice, filters, note
from celeriac.cli.group import said_of, store_of
from celeriac.cli.letters import listing
from celeriac.cli.screen import echo, plural, width
from celeriac.cli.text import one_line
from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.desk import By
from celeriac.core.rates import per_second
from celeriac.desk import dropping
from celeriac.desk.choosing import as_of
from celeriac.desk.editing import Edit
from celeriac.desk.redrive import How, check_queue
from celeriac.desk.redrive import redrive as redrive_steps
from celeriac.desk.steps import Steps
from celeriac.desk.who import whoami
from celeriac.store.protocols import Store

references = click.argument("references", metavar="[ID|TASK_ID]...", nargs=-1)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")

Plan = Callable[[DeadLetterFilter], Steps]


def acting(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments and options of what is done to many."""
    for option in (
        as_json,
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        note,
        as_,
        click.option("--all", "everything", is_flag=True, help="All there are; needed where no filter is given."),
        filters,
        references,
    ):
        command = option(command)
    return command


def chosen_by(context: click.Context, action: Action, everything: bool, chosen: dict[str, Any]) -> DeadLetterFilter:
    """The filter of an action, which never means everything by accident."""
    wanted = choice(**chosen)
    if wanted.everything and not everything:
        raise click.UsageError(
            f"Say which: ids or task ids, a filter such as --task 'shop.*' or --older-than 3d, or --all to {action.verb} every one"
        )
    return wanted.look_up(context.obj.app, store_of(context))


def _value(_context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    """Convert an option's JSON."""
    wanted: type = list if parameter.name == "args" else dict
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{text!r:.200} is no JSON ({error})") from error
    if not isinstance(value, wanted):
        raise click.BadParameter(f"{text!r} is no JSON {'list' if wanted is list else 'object'}")
    return value


def _values(_context: click.Context, _parameter: click.Parameter, texts: Sequence[str]) -> dict[str, Any]:
    """Convert ``name=JSON``, as often as it was given."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise click.BadParameter(f"{text!r} is no NAME=JSON")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(
                f"the value of {name}, {value!r:.200}, is no JSON ({error}); text goes in quotation marks: "
                f"--set '{name}=\"{value:.200}\"'"
            ) from error
    return found


def _rate(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    try:
        return per_second(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@acting
@click.option(
    "--set", "values", multiple=True, callback=_values, metavar="NAME=JSON", help="Another value for an argument."
)
@click.option(
    "--args", callback=_value, metavar="JSON", help="Other positional arguments, all of them: '[7, \"EUR\"]'."
)
@click.option(
    "--kwargs", callback=_value, metavar="JSON", help="Other keyword arguments, all of them: '{\"order_id\": 7}'."
)
@click.option("--to", metavar="QUEUE", help="Into this queue instead of the one each was in.")
@click.option("--rate", callback=_rate, metavar="N/s|m|h", help="No more than so many in a time, evenly: 10/s, 100/m.")
@click.option("--ignore-expiry", is_flag=True, help="Also those past their `expires`, which is dropped.")
@click.option("--alone", is_flag=True, help="Also members of chords that are not known any more, without these.")
@click.option("--from-start", is_flag=True, help="Long tasks begin anew instead of behind their last checkpoint.")
@click.pass_context
def redrive(
    context: click.Context,
    /,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    who: str | None,
    note: str | None,
    values: dict[str, Any],
    args: list[Any] | None,
    kwargs: dict[str, Any] | None,
    to: str | None,
    rate: float | None,
    ignore_expiry: bool,
    alone: bool,
    from_start: bool,
    **chosen: Any,
) -> None:
    """Send dead letters again, with other arguments if need be.

    Each goes to its queue one generation higher, its retries before it, and its chain or chord goes on from there; a task
    in checkpoints goes on behind the last row that was done, also with other arguments, unless --from-start. One
    whose idempotency key another task holds, whose `expires` is over, whose task id was sent again since, or whose new
    arguments are no call of the task, is refused and stays; the exit status is 1 then. A dry run cannot tell whether keys
    are free.
    """
    action = Action("redrive", "redriven", "Checking" if dry_run else "Redriving", dry_run)
    how = How(Edit(args, kwargs, values), to, rate, ignore_expiry, alone, from_start)
    wanted = chosen_by(context, action, everything, chosen)
    app, by = context.obj.app, By(who or whoami(), note)
    if to is not None:
        check_queue(app, to)

    def steps(frozen: DeadLetterFilter) -> Steps:
        return redrive_steps(app, frozen, by, how, dry_run=dry_run)

    act(store_of(context), action, steps, wanted, yes=yes, as_json=as_json, rate=rate)


@click.command()
@acting
@click.pass_context
def ack(context: click.Context, /, **given: Any) -> None:
    """Acknowledge dead letters: they leave the list, and stay.

    What somebody is looking into, or will never mend, is out of the way, with a note that says why. Of one that was
    acknowledged before, a new note takes the place of the old one, which `dead log` keeps; without a new one all stays.
    """
    _change(
        context, Action("acknowledge", "acknowledged", "Acknowledging", given["dry_run"]), dropping.acknowledge, given
    )


@click.command()
@acting
@click.pass_context
def reopen(context: click.Context, /, **given: Any) -> None:
    """Put acknowledged dead letters back on the list."""
    given["acknowledged"] = "only"
    action = Action("reopen", "reopened", "Reopening", given["dry_run"], gone="not acknowledged")
    _change(context, action, dropping.reopen, given)


@click.command()
@acting
@click.pass_context
def purge(context: click.Context, /, **given: Any) -> None:
    """Drop dead letters for good."""
    action = Action("purge", "purged", "Checking" if given["dry_run"] else "Purging", given["dry_run"])
    _change(context, action, dropping.purge, given)


def _change(context: click.Context, action: Action, change: Callable[..., Steps], given: dict[str, Any]) -> None:
    by = By(given.pop("who") or whoami(), given.pop("note"))
    yes, as_json, dry_run = (given.pop(name) for name in ("yes", "as_json", "dry_run"))
    store, wanted = store_of(context), chosen_by(context, action, given.pop("everything"), given)
    act(store, action, lambda frozen: change(store, frozen, by, dry_run=dry_run), wanted, yes=yes, as_json=as_json)


def act(
    store: Store,
    action: Action,
    steps: Plan,
    wanted: DeadLetterFilter,
    *,
    yes: bool,
    as_json: bool,
    rate: float | None = None,
) -> None:
    """Ask where many are meant, do it, and say what was done."""
    counted_at = store.now()
    tally = Tally(action, store.count_dead_letters(wanted))
    if not tally.matched and not as_json:
        echo(said_of(store, wanted, 0, 0))
        return
    taking = f", {lasting(tally.matched / rate)} at this rate" if rate and tally.matched > 1 else ""
    if action.dry_run and not as_json:
        _preview(store, wanted, tally.matched, taking)
    elif tally.matched > 1 and not (yes or action.dry_run):
        ask(f"{action.verb.capitalize()} {plural(tally.matched)} in {one_line(store.location)}{taking}?")
    # Only what was counted: the question may have stood there for an hour.
    carry_out(steps(as_of(wanted, store.now() - counted_at)), tally)
    report(tally, as_json=as_json)


def _preview(store: Store, wanted: DeadLetterFilter, matched: int, taking: str) -> None:
    letters = list(islice(store.dead_letters(wanted, batch=SHOWN), SHOWN))
    lines = listing(letters, store.now(), width())
    lines += [f"and {matched - len(letters):,} more"] if matched > len(letters) else []
    echo("\n".join(lines) + "\n")
    if taking:
        echo(f"{plural(matched)}{taking}.")


COMMANDS = (redrive, ack, reopen, purge)
