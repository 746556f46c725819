"""What a terminal of 80 columns shows of the commands."""

from __future__ import annotations

from importlib.metadata import entry_points

import click
import pytest

GROUPS = [
    point.name
    for point in entry_points(group="celery.commands")
    if point.value.startswith("celeriac.") and isinstance(point.load(), click.Group)
]


@pytest.mark.parametrize("name", GROUPS)
def test_no_line_about_a_command_is_cut(name: str) -> None:
    """Click cuts them to the terminal's width, and the end is often what tells one from another."""
    [point] = entry_points(group="celery.commands", name=name)
    group = point.load()
    with click.Context(group, info_name=f"celery {name}", terminal_width=80, max_content_width=80) as context:
        assert "..." not in group.get_help(context).partition("Commands:")[2]
