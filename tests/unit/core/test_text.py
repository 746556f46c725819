from __future__ import annotations

import pytest

from celeriac.core.text import app_option


@pytest.mark.parametrize(
    "words",
    [["-A", "config", "worker"], ["--app", "config", "worker"], ["--app=config"], ["-Aconfig"], ["-q", "-A", "config"]],
)
def test_the_app_is_what_the_process_was_started_with(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setenv("CELERY_APP", "another")
    monkeypatch.setattr("sys.argv", ["celery", *words])
    assert app_option("project") == "config"


def test_else_what_the_environment_says_then_the_apps_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["celery", "worker"])
    monkeypatch.setenv("CELERY_APP", "config")
    assert app_option("project") == "config"
    monkeypatch.delenv("CELERY_APP")
    assert app_option("project") == "project"
    assert app_option(None) == "<app>"


def test_a_program_without_arguments_has_its_apps_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gunicorn"])
    monkeypatch.delenv("CELERY_APP", raising=False)
    assert app_option("project") == "project"
