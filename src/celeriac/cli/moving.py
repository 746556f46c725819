"""Dead letters written to a file, and read from one."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from celeriac.cli.acting import as_json, references
from celeriac.cli.bulk import Action, Tally, carry_out, report
from celeriac.cli.choosing import as_, choice, filters, note
from celeriac.cli.group import store_of
from celeriac.cli.screen import echo, plural
from celeriac.core.desk import By
from celeriac.desk import export as files
from celeriac.desk.who import whoami


@click.command()
@references
@filters
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="The file; else standard output.")
@click.option("--overwrite", is_flag=True, help="Replace the file, if it is there.")
@as_
@note
@click.pass_context
def export(
    context: click.Context, /, output: Path | None, overwrite: bool, who: str | None, note: str | None, **chosen: Any
) -> None:
    """Write dead letters as lines of JSON, with every attempt.

    They stay where they are. The last line says how many there are, so that `dead import` knows a file that was cut off. A
    file that is there already is left alone, unless told otherwise: it may be all that is left of what was purged.
    """
    store = store_of(context)
    wanted = choice(**chosen).look_up(context.obj.app, store)
    with _written(output, overwrite=overwrite) as into:
        count = files.export(store, wanted, into, By(who or whoami(), note))
    echo(f"{plural(count)} exported.", err=True)


@contextmanager
def _written(output: Path | None, *, overwrite: bool) -> Iterator[IO[str]]:
    """A file that is there when it is whole."""
    if output is None:
        yield sys.stdout
        return
    if not overwrite and output.exists():
        raise _there_already(output)
    beside = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        try:
            # Arguments and tracebacks are nobody else's business.
            file = os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"{output} cannot be written: {error.strerror}") from error
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _put(beside, output, overwrite=overwrite)
    finally:
        beside.unlink(missing_ok=True)


def _put(beside: Path, output: Path, *, overwrite: bool) -> None:
    """Give the file its name, which somebody may have taken in the meantime."""
    if not overwrite:
        try:
            output.hardlink_to(beside)
        except FileExistsError:
            raise _there_already(output) from None
        except OSError:  # a file system without links
            pass
        else:
            return
    beside.replace(output)


def _there_already(output: Path) -> click.ClickException:
    return click.ClickException(
        f"{output} is there already, and nothing was written: name another file, or replace it with --overwrite"
    )


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--partial", is_flag=True, help="Lines were left out on purpose, or the last one, which counts them.")
@click.option("--dry-run", is_flag=True, help="Only look whether every line can be read.")
@as_
@note
@as_json
@click.pass_context
def import_(
    context: click.Context,
    /,
    file: str,
    partial: bool,
    dry_run: bool,
    as_json: bool,
    who: str | None,
    note: str | None,
) -> None:
    """Add the dead letters of an export; - reads standard input.

    Every line is read before the first one counts: of a damaged export nothing is imported, and the line is named. What is
    there already, or was sent again since, is left alone, so an import can be repeated. Each is given a number of this
    ledger's; the task id stays.
    """
    store = store_of(context)
    action = Action("import", "imported", "Importing", dry_run, gone="known here")
    with _seekable(file) as source:
        total = sum(1 for _ in files.read(source, partial=partial))
        source.seek(0)
        tally = Tally(action, total)
        steps = files.import_(store, source, By(who or whoami(), note), partial=partial, dry_run=dry_run)
        carry_out(steps, tally)
    report(tally, as_json=as_json)


@contextmanager
def _seekable(file: str) -> Iterator[IO[str]]:
    """The file, or all of standard input in one: it is read twice."""
    if file != "-":
        with Path(file).open(encoding="utf-8", errors="surrogateescape") as source:
            yield source
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape") as copy:
        with open(sys.stdin.fileno(), encoding="utf-8", errors="surrogateescape", closefd=False) as stdin:
            copy.writelines(stdin)
        copy.seek(0)
        yield copy


COMMANDS = (export, import_)
