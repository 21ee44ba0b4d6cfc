"""Which partitions have expired, decided from their values or from their newest file: pure.

All times are local wall clock, as in Java: the partition's, the newest file's, and now.

Spec: maintenance §11.3; reference classes ``NormalPartitionExpire``, ``PartitionTimeExtractor``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .datatypes import DataType
from .errors import InvalidRequest
from .java_time import DEFAULT_FORMAT, TimeFormat
from .option_values import OptionValues
from .options_partitions import FORMATTER, UPDATE_TIME, PartitionOptions
from .partition import java_text
from .row import Row

NANOS_PER_MILLI = 1_000_000


@dataclass(frozen=True, slots=True)
class PartitionOverride:
    """What stands in place of the table's own options; None leaves the table's.

    Times in milliseconds; the names are those of the options.
    """

    expire_millis: int | None = None
    strategy: str | None = None
    pattern: str | None = None
    formatter: str | None = None
    max_num: int | None = None
    batch_size: int | None = None

    def on(self, options: PartitionOptions) -> PartitionOptions:
        """The table's options with these on top.

        Raises:
            InvalidRequest: a number that is too small.
        """
        for name, value, least in (
            ("expiration-time", self.expire_millis, 0),
            ("max-num", self.max_num, 1),
            ("batch-size", self.batch_size, 1),
        ):
            if value is not None and value < least:
                raise InvalidRequest(f"{name} is too small", value=value, least=least)
        millis = None if self.expire_millis is None else f"{self.expire_millis} ms"
        given = {
            "partition.expiration-time": millis,
            "partition.expiration-strategy": self.strategy,
            "partition.timestamp-pattern": self.pattern,
            "partition.timestamp-formatter": self.formatter,
            "partition.expiration-max-num": self.max_num,
            "partition.expiration-batch-size": self.batch_size,
        }
        added = {key: str(value) for key, value in given.items() if value is not None}
        return PartitionOptions(OptionValues({**options.options.raw, **added}))


@dataclass(frozen=True, slots=True)
class PartitionClock:
    """The table's rule at one moment. ``cut_millis``: what is older has expired."""

    strategy: str
    cut_millis: int
    pattern: str | None
    format: TimeFormat
    keys: tuple[str, ...]
    types: tuple[DataType, ...]

    @staticmethod
    def of(
        options: PartitionOptions,
        keys: Sequence[str],
        types: Sequence[DataType],
        now_millis: int,
    ) -> PartitionClock | None:
        """The rule at ``now_millis`` on the local wall clock; None where partitions stay for ever.

        Raises:
            UnsupportedFeature: a strategy or a pattern letter that is not known here, by name.
        """
        age = options.expire_millis
        if age is None or not keys:
            return None
        strategy, formatter = options.strategy, options.formatter
        parsed = DEFAULT_FORMAT if formatter is None else TimeFormat.of(formatter, FORMATTER)
        return PartitionClock(
            strategy, now_millis - age, options.pattern, parsed, tuple(keys), tuple(types)
        )

    def judge(self, row: Row, newest_millis: int | None) -> bool | None:
        """Whether a partition has expired; None: it has no time, so it stays.

        Args:
            newest_millis: when its newest file was made, local wall clock.
        """
        if self.strategy == UPDATE_TIME:
            if newest_millis is None:
                return None
            return local_instant(self.cut_millis) > local_instant(newest_millis)
        moment = self.moment(row)
        return None if moment is None else self.cut_millis * NANOS_PER_MILLI > moment

    def moment(self, row: Row) -> int | None:
        """The time that the values say, in nanoseconds; None when they say none."""
        if self.pattern is None:
            if row[0] is None:
                return None
            return self.format.moment(java_text(row[0], self.types[0]))
        if any(value is None for value in row):
            return None
        texts = [lambda i=i: java_text(row[i], self.types[i]) for i in range(len(row))]
        return self.format.moment(filled(self.pattern, self.keys, texts))


def filled(pattern: str, keys: Sequence[str], texts: Sequence[Callable[[], str]]) -> str:
    """The pattern with ``$key`` replaced by the key's text; of several keys the longest counts."""
    longest = sorted(range(len(keys)), key=lambda i: -len(keys[i]))
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        found = next((i for i in longest if pattern.startswith(f"${keys[i]}", at)), None)
        if found is None:
            parts.append(pattern[at])
            at += 1
        else:
            parts.append(texts[found]())
            at += 1 + len(keys[found])
    return "".join(parts)


def local_instant(wall_millis: int) -> int:
    """Epoch milliseconds of a moment on the local wall clock.

    One that comes twice is the first; one that is skipped counts by the offset before it.
    """
    seconds, millis = divmod(wall_millis, 1000)
    try:
        wall = datetime(1970, 1, 1) + timedelta(seconds=seconds)  # noqa: DTZ001  local, on purpose
        return round(wall.timestamp()) * 1000 + millis
    except (OverflowError, ValueError, OSError):
        return wall_millis  # outside of Python's calendar, where no zone changes its offset


def by_age(texts: Sequence[str]) -> bytes:
    """What sorts partitions as Java does, the oldest first if text and age agree."""
    return ",".join(texts).encode("utf-16-be", "surrogatepass")
