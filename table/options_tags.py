"""What a table's options say about tags, as values; defaults are Paimon's.

Spec: maintenance §11.5; reference classes ``CoreOptions``, ``tag/TagPeriodHandler``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

from .errors import UnsupportedFeature
from .option_values import OptionValues
from .zones import Zone, parse_zone

E = TypeVar("E", bound=StrEnum)

_HOUR = 3_600_000
_RETAIN = "tag.num-retained-max"


class CreationMode(StrEnum):
    """By which time tags are made automatically."""

    NONE = "none"
    PROCESS_TIME = "process-time"
    WATERMARK = "watermark"
    BATCH = "batch"


class PeriodName(StrEnum):
    """How often."""

    DAILY = "daily"
    HOURLY = "hourly"
    TWO_HOURS = "two-hours"


class Dashes(StrEnum):
    """How a period's start is written."""

    WITH = "with_dashes"
    WITHOUT = "without_dashes"
    WITHOUT_SPACES = "without_dashes_and_spaces"


_MILLIS = {
    PeriodName.DAILY: 24 * _HOUR, PeriodName.HOURLY: _HOUR, PeriodName.TWO_HOURS: 2 * _HOUR,
}  # fmt: skip


def retention(micros: int) -> timedelta:
    """How long a tag stays. Java counts further than Python; what ends beyond is for ever."""
    limit = timedelta.max // timedelta(microseconds=1)
    return timedelta(microseconds=max(-limit, min(limit, micros)))


@dataclass(frozen=True, slots=True)
class TagOptions:
    """Times in milliseconds; None where an option is absent."""

    options: OptionValues

    @property
    def mode(self) -> CreationMode:
        return self._one_of("tag.automatic-creation", CreationMode.NONE)

    @property
    def period(self) -> PeriodName | None:
        """None: a length of its own, which then counts alone."""
        if "tag.creation-period-duration" in self.options.raw:
            return None
        return self._one_of("tag.creation-period", PeriodName.DAILY)

    @property
    def period_millis(self) -> int:
        name = self.period
        if name is not None:
            return _MILLIS[name]
        return self.options.millis("tag.creation-period-duration", 0)

    @property
    def delay_millis(self) -> int:
        """How long after the end of a period late data is waited for."""
        return self.options.millis("tag.creation-delay", 0)

    @property
    def dashes(self) -> Dashes:
        return self._one_of("tag.period-formatter", Dashes.WITH)

    @property
    def retained_max(self) -> int | None:
        """How many tags made automatically stay."""
        return self.options.number(_RETAIN, 0) if _RETAIN in self.options.raw else None

    @property
    def default_retained(self) -> timedelta | None:
        """The retention of new tags."""
        key = "tag.default-time-retained"
        if key not in self.options.raw:
            return None
        return retention(self.options.millis(key, 0) * 1000)

    @property
    def expires(self) -> bool:
        return self.options.flag("tag.time-expire-enabled", default=True)

    @property
    def completes(self) -> bool:
        """Whether periods without a snapshot get a tag, too, as far as snapshots go."""
        return self.options.flag("tag.automatic-completion", default=False)

    @property
    def success_files(self) -> bool:
        return self.options.flag("tag.create-success-file", default=False)

    @property
    def batch_name(self) -> str | None:
        """In place of a name by the day."""
        return self.options.raw.get("tag.batch.customized-name")

    @property
    def process_zone(self) -> Zone | None:
        """None: the one of this machine."""
        raw = self.options.raw.get("sink.process-time-zone")
        return None if raw is None else parse_zone(raw, "sink.process-time-zone")

    @property
    def watermark_zone(self) -> Zone:
        key = "sink.watermark-time-zone"
        return parse_zone(self.options.text(key, "UTC"), key)

    def check(self) -> None:
        """Touch every option once, so that a bad value is found before anything is looked at.

        Raises:
            UnsupportedFeature: naming the option and its value.
        """
        for name in (
            "mode", "period", "dashes", "default_retained", "expires", "completes",
            "success_files", "process_zone", "watermark_zone",
        ):  # fmt: skip
            getattr(self, name)
        if self.mode in (CreationMode.PROCESS_TIME, CreationMode.WATERMARK):
            self._check_period()
        if self.mode is not CreationMode.NONE and self.retained_max is not None:
            self._check_retained(self.retained_max)

    @staticmethod
    def _check_retained(most: int) -> None:
        if most < 1:
            raise UnsupportedFeature("option value is too small", option=_RETAIN, value=most)

    def _check_period(self) -> None:
        if self.period_millis < 1 or self.delay_millis >= self.period_millis:
            raise UnsupportedFeature(
                "the delay must be shorter than the period", option="tag.creation-delay",
                value=f"{self.delay_millis} ms", period=f"{self.period_millis} ms",
            )  # fmt: skip

    def _one_of(self, key: str, default: E) -> E:
        text = self.options.text(key, default.value).lower()
        words = type(default)
        # Enums of Java are written with either sign.
        for word in words:
            if text.replace("-", "_") == word.value.replace("-", "_"):
                return word
        raise UnsupportedFeature("option value is unknown", option=key, value=text)
