"""What a table's options say about expiry, as values; defaults are Paimon's.

Spec: maintenance §10.1, §10.3; reference classes ``CoreOptions``, ``options/ExpireConfig``.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import UnsupportedFeature
from .option_values import OptionValues

RETAIN_MAX = 2**31 - 1
"""Paimon's word for no bound at all."""

# Inside a writer's commit, or beside it. Ours never is inside a commit, so both mean the same here.
_EXECUTION_MODES = frozenset({"sync", "async"})
_LIMIT = "snapshot.expire.limit"


@dataclass(frozen=True, slots=True)
class ExpiryOptions:
    """Counts in snapshots, times in milliseconds; None where an option is absent."""

    options: OptionValues

    @property
    def retain_min(self) -> int:
        return self.options.number("snapshot.num-retained.min", 10)

    @property
    def retain_max(self) -> int:
        return self.options.number("snapshot.num-retained.max", RETAIN_MAX)

    @property
    def retain_millis(self) -> int:
        return self.options.millis("snapshot.time-retained", 3_600_000)

    @property
    def changelog_retain_min(self) -> int | None:
        return self._number("changelog.num-retained.min")

    @property
    def changelog_retain_max(self) -> int | None:
        return self._number("changelog.num-retained.max")

    @property
    def changelog_retain_millis(self) -> int | None:
        return self._millis("changelog.time-retained")

    @property
    def limit(self) -> int:
        """Snapshots that go in one run."""
        return self.options.number(_LIMIT, 50)

    @property
    def produces_changelog(self) -> bool:
        return self.options.text("changelog-producer", "none").lower() != "none"

    @property
    def consumer_millis(self) -> int | None:
        """Consumers that did not move for so long are forgotten; None: never."""
        return self._millis("consumer.expiration-time")

    @property
    def consumer_changelog_only(self) -> bool:
        """Whether consumers hold changelogs but no snapshots."""
        return self.options.flag("consumer.changelog-only", default=False)

    @property
    def clean_directories(self) -> bool:
        older = self.options.flag("snapshot.expire.clean-empty-directories", default=False)
        return self.options.flag("snapshot.clean-empty-directories", default=older)

    def check(self) -> None:
        """Touch every option once, so that a bad value is found before anything is looked at.

        Raises:
            UnsupportedFeature: naming the option and its value.
        """
        for name in (
            "retain_min", "retain_max", "retain_millis", "changelog_retain_min",
            "changelog_retain_max", "changelog_retain_millis", "consumer_millis",
            "consumer_changelog_only", "clean_directories",
        ):  # fmt: skip
            getattr(self, name)
        if self.limit < 1:
            raise UnsupportedFeature("option value is too small", option=_LIMIT, value=self.limit)
        key = "snapshot.expire.execution-mode"
        mode = self.options.text(key, "sync")
        if mode.lower() not in _EXECUTION_MODES:
            raise UnsupportedFeature("unknown execution mode", option=key, value=mode)

    def _number(self, key: str) -> int | None:
        return self.options.number(key, 0) if key in self.options.raw else None

    def _millis(self, key: str) -> int | None:
        return self.options.millis(key, 0) if key in self.options.raw else None
