"""Moments on the command line: as in filters, UTC where no zone is given."""

from datetime import UTC, datetime

import click


class Moment(click.DateTime):
    """A day, which means its beginning, or a time with or without a zone; always with one here."""

    def __init__(self) -> None:
        super().__init__(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment that was written."""
        moment: datetime = super().convert(value, param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
