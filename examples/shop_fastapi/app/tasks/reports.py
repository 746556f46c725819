"""The nightly report: figures of each country in parallel, then one text."""

from __future__ import annotations

from app.core.celery import celery_app
from app.core.config import settings
from celery import chord
from shop.repository import OrderRepository

repository = OrderRepository(settings.database)


@celery_app.task
def nightly_report() -> str | None:
    """Send the chord; returns the id under which the text will be found."""
    countries = sorted(repository.countries())
    if not countries:
        return None
    return str(chord([country_figures.s(country) for country in countries], compile_report.s()).apply_async().id)


@celery_app.task
def country_figures(country: str) -> tuple[str, int, int]:
    """Orders and pence of one country."""
    count, pence = repository.figures(country)
    return country, count, pence


@celery_app.task
def compile_report(figures: list[tuple[str, int, int]]) -> dict[str, object]:
    """All countries together, the best first."""
    best = sorted(figures, key=lambda row: -row[2])
    return {
        "orders": sum(count for _, count, _ in figures),
        "pence": sum(pence for _, _, pence in figures),
        "countries": [[country, count, pence] for country, count, pence in best],
    }
