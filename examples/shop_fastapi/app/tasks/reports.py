"""The nightly report: figures of each country in parallel, then one report, which is mailed before the day is closed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from app.core.celery import celery_app, send_workflow
from app.core.config import settings
from celery import chain, chord
from shop import clients
from shop.repository import OrderRepository

repository = OrderRepository(settings.database)
Figures = tuple[str, int, int]


@celery_app.task
def nightly_report(day: str | None = None) -> str | None:
    """Send the report of a day, by default of yesterday, on its way; returns the id of its last step, None without orders."""
    day = day or str((datetime.now(timezone.utc) - timedelta(days=1)).date())
    countries = sorted(repository.countries())
    if not countries:
        return None
    figures = chord([country_figures.s(country, day) for country in countries], compile_report.s(day))
    canvas = chain(figures, mail_report.s(), close_day.s())
    return str(send_workflow(canvas, name=f"nightly report of {day}").id)


@celery_app.task
def country_figures(country: str, day: str) -> Figures:
    """Orders and pence of one country."""
    count, pence = repository.figures(country)
    repository.note_step(day, f"figures of {country}")
    return country, count, pence


@celery_app.task
def compile_report(figures: list[Figures], day: str) -> dict[str, Any]:
    """All countries together, the best first."""
    best = sorted(figures, key=lambda row: -row[2])
    repository.note_step(day, "compile")
    return {
        "day": day,
        "orders": sum(count for _, count, _ in figures),
        "pence": sum(pence for _, _, pence in figures),
        "countries": [[country, count, pence] for country, count, pence in best],
    }


@celery_app.task(autoretry_for=(OSError,), max_retries=2, retry_backoff=True)
def mail_report(report: dict[str, Any]) -> dict[str, Any]:
    """Send it to the head office. Somebody is up at night who can be told: it is not tried for long."""
    clients.send_report(settings.SHOP_SMTP_HOST, int(settings.SHOP_SMTP_PORT), report)
    repository.note_step(report["day"], "mail")
    return report


@celery_app.task
def close_day(report: dict[str, Any]) -> dict[str, Any]:
    """The day is over when the head office has its report."""
    repository.note_step(report["day"], "close")
    return report
