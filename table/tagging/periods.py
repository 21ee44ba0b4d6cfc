"""Periods by which tags are made, and the names that their starts have.

Times are local milliseconds: what a wall clock shows, counted as if it showed UTC.

Spec: maintenance §11.5; reference class ``tag/TagPeriodHandler``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..options_tags import Dashes, PeriodName, TagOptions

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY, _DAY_PLAIN = "%Y-%m-%d", "%Y%m%d"
_DIGITS = {"%Y": r"(\d{4})", "%m": r"(\d{2})", "%d": r"(\d{2})", "%H": r"(\d{2})", "%M": r"(\d{2})"}

_FORMATS = {
    (PeriodName.DAILY, Dashes.WITH): _DAY,
    (PeriodName.DAILY, Dashes.WITHOUT): _DAY_PLAIN,
    (PeriodName.DAILY, Dashes.WITHOUT_SPACES): _DAY_PLAIN,
    (PeriodName.HOURLY, Dashes.WITH): f"{_DAY} %H",
    (PeriodName.HOURLY, Dashes.WITHOUT): f"{_DAY_PLAIN} %H",
    (PeriodName.HOURLY, Dashes.WITHOUT_SPACES): f"{_DAY_PLAIN}%H",
}
_TWO_HOURS = f"{_DAY} %H"
_OWN_LENGTH = f"{_DAY_PLAIN}%H%M"


@dataclass(frozen=True, slots=True)
class Periods:
    """``millis``: of one period; ``format``: of names; ``first_word``: what follows a blank in a
    name is not looked at."""

    millis: int
    format: str
    first_word: bool = False

    @staticmethod
    def of(options: TagOptions) -> Periods:
        """As the table's options have it."""
        match options.period:
            case None:
                return Periods(options.period_millis, _OWN_LENGTH)
            case PeriodName.TWO_HOURS:
                return Periods(options.period_millis, _TWO_HOURS)
            case name:
                daily = name is PeriodName.DAILY
                return Periods(options.period_millis, _FORMATS[name, options.dashes], daily)

    def name(self, start: int) -> str:
        """Of the period that starts then."""
        return (_EPOCH + timedelta(milliseconds=start)).strftime(self.format)

    def start(self, name: str) -> int | None:
        """When the period of that name starts; None for a name that is no period's."""
        text = name.split(" ", 1)[0] if self.first_word else name
        pattern = re.escape(self.format)
        for sign, digits in _DIGITS.items():
            pattern = pattern.replace(sign, digits)
        match = re.fullmatch(pattern, text, re.ASCII)
        if match is None:
            return None
        numbers = [int(group) for group in match.groups()]
        year, month, day, hour, minute = (*numbers, 0, 0)[:5]
        try:
            moment = datetime(year, month, day, hour, minute, tzinfo=UTC)
        except ValueError:
            return None
        return (moment - _EPOCH) // timedelta(milliseconds=1)

    def finished_at(self, local: int) -> int:
        """Start of the last period that is over at that time."""
        return local // self.millis * self.millis - self.millis
