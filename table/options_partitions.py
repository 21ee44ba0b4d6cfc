"""What a table's options say about the expiry of its partitions; defaults are Paimon's.

Spec: maintenance §11.3; reference classes ``CoreOptions``, ``PartitionExpireStrategy``.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import UnsupportedFeature
from .option_values import OptionValues

VALUES_TIME = "values-time"
UPDATE_TIME = "update-time"
STRATEGY = "partition.expiration-strategy"
FORMATTER = "partition.timestamp-formatter"


@dataclass(frozen=True, slots=True)
class PartitionOptions:
    """Times in milliseconds; None where an option is absent."""

    options: OptionValues

    @property
    def expire_millis(self) -> int | None:
        """None: partitions do not expire."""
        return self._millis("partition.expiration-time")

    @property
    def check_millis(self) -> int:
        return self.options.millis("partition.expiration-check-interval", 3_600_000)

    @property
    def strategy(self) -> str:
        """Where the time of a partition comes from.

        Raises:
            UnsupportedFeature: a strategy that is a Java class, or none at all.
        """
        value = self.options.text(STRATEGY, VALUES_TIME)
        if value not in (VALUES_TIME, UPDATE_TIME):
            raise UnsupportedFeature("option is not supported", option=STRATEGY, value=value)
        return value

    @property
    def pattern(self) -> str | None:
        return self._raw("partition.timestamp-pattern")

    @property
    def formatter(self) -> str | None:
        return self._raw(FORMATTER)

    @property
    def max_num(self) -> int:
        """Partitions that expire in one run."""
        return self.options.number("partition.expiration-max-num", 100)

    @property
    def batch_size(self) -> int | None:
        """Partitions that one commit drops; None: all."""
        size = self.options.number("partition.expiration-batch-size", 0)
        return size if size > 0 else None

    def _millis(self, key: str) -> int | None:
        return self.options.millis(key, 0) if key in self.options.raw else None

    def _raw(self, key: str) -> str | None:
        """The text as it stands: blanks at its ends are part of a pattern."""
        return self.options.raw.get(key)
