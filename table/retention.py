"""How long snapshots stay: the table's options, and what somebody put in their place.

Spec: maintenance §10.1, §10.3; reference class ``options/ExpireConfig``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .errors import InvalidRequest, UnsupportedFeature
from .options_expiry import ExpiryOptions
from .options_refused import ONLY
from .schema import TableSchema


@dataclass(frozen=True, slots=True)
class Override:
    """Bounds in place of the table's own; None leaves the table's. Age in milliseconds.

    A bound on the number given alone takes the table's other one along where the two would
    contradict each other: keep at most 5 means keep at least 5, too, not an error.
    """

    retain_min: int | None = None
    retain_max: int | None = None
    retain_millis: int | None = None

    def __post_init__(self) -> None:
        for name, value, least in (
            ("retain-min", self.retain_min, 1),
            ("retain-max", self.retain_max, 1),
            ("retain-age", self.retain_millis, 0),
        ):
            if value is not None and value < least:
                raise InvalidRequest(f"{name} is too small", value=value, least=least)
        low, high = self.retain_min, self.retain_max
        if low is not None and high is not None and low > high:
            raise InvalidRequest("retain-min exceeds retain-max", min=low, max=high)


@dataclass(frozen=True, slots=True)
class Bounds:
    """At least so many stay, at most so many, and those younger than ``millis``."""

    least: int
    most: int
    millis: int


@dataclass(frozen=True, slots=True)
class Retention:
    """What stays. ``changelogs``: None when they go with their snapshots.

    ``limit``: how many go in one run. ``consumers_hold_snapshots``: consumers hold changelogs in
    any case.
    """

    snapshots: Bounds
    changelogs: Bounds | None
    limit: int
    produces_changelog: bool
    consumer_millis: int | None
    consumers_hold_snapshots: bool
    clean_directories: bool


def retention_of(options: ExpiryOptions, override: Override | None = None) -> Retention:
    """The table's retention with the override's bounds in place of its own.

    Changelogs are decoupled when any of their bounds is wider than that of snapshots: by the
    table's own options, or by those in force now; what the table promised its readers is kept.

    Raises:
        UnsupportedFeature: options that contradict each other, named.
    """
    own = Bounds(options.retain_min, options.retain_max, options.retain_millis)
    _check(own, "snapshot")
    bounds = _overridden(own, override or Override())
    changelogs = _changelog_bounds(options, bounds)
    decoupled = _wider(changelogs, bounds) or _wider(_changelog_bounds(options, own), own)
    return Retention(
        snapshots=bounds,
        changelogs=changelogs if decoupled else None,
        limit=options.limit,
        produces_changelog=options.produces_changelog,
        consumer_millis=options.consumer_millis,
        consumers_hold_snapshots=not options.consumer_changelog_only,
        clean_directories=options.clean_directories,
    )


def changelog_retention(options: ExpiryOptions, override: Override | None = None) -> Retention:
    """The table's retention where only long-lived changelogs are to go, whether or not it makes any
    today; the override's bounds are theirs. Consumers stay, and hold what they have still to read.

    Raises:
        UnsupportedFeature: options that contradict each other, named.
    """
    found = retention_of(options)
    own = found.changelogs or _changelog_bounds(options, found.snapshots)
    changelogs = _overridden(own, override or Override())
    return replace(found, changelogs=changelogs, consumer_millis=None)


def _overridden(own: Bounds, override: Override) -> Bounds:
    least = override.retain_min or own.least
    most = override.retain_max or own.most
    if least > most:  # one of them is the table's own, and gives way
        least, most = (least, least) if override.retain_max is None else (most, most)
    age = own.millis if override.retain_millis is None else override.retain_millis
    return Bounds(least, most, age)


def _changelog_bounds(options: ExpiryOptions, snapshots: Bounds) -> Bounds:
    """Each bound is that of the snapshots unless the table has its own."""
    given = options.changelog_retain_min
    least = snapshots.least if given is None else given
    most = options.changelog_retain_max
    millis = options.changelog_retain_millis
    bounds = Bounds(
        least,
        # A table that only says how many changelogs must stay says so of the upper bound, too.
        max(least, snapshots.most) if most is None else most,
        snapshots.millis if millis is None else millis,
    )
    if given is not None or most is not None:
        _check(bounds, "changelog")
    return bounds


def _wider(changelogs: Bounds, snapshots: Bounds) -> bool:
    return (
        changelogs.most > snapshots.most
        or changelogs.least > snapshots.least
        or changelogs.millis > snapshots.millis
    )


def _check(bounds: Bounds, what: str) -> None:
    if bounds.least < 1:
        raise UnsupportedFeature(
            "option value is too small", option=f"{what}.num-retained.min", value=bounds.least
        )
    if bounds.most < bounds.least:
        raise UnsupportedFeature(
            "more snapshots must stay than may", option=f"{what}.num-retained.max",
            value=bounds.most, min=bounds.least,
        )  # fmt: skip


# Options that change which files a snapshot has, or where. Expiry asks less of a table than
# compaction does: how rows are merged or encoded is nothing to it.
REFUSED_VALUES = (
    "type", "branch", "pk-clustering-override", "chain-table.enabled", "data-evolution.enabled",
    "index-file-in-data-file-dir", "lookup.remote-file.enabled", "metadata.iceberg.storage",
    "metadata.iceberg-compatible", "manifest.format", "data-file.external-paths.strategy",
)  # fmt: skip
REFUSED_OPTIONS = (
    "data-file.external-paths", "data-file.path-directory", "global-index.external-path",
    "blob-field", "blob-descriptor-field", "blob.stored-descriptor-fields", "blob-view-field",
)  # fmt: skip


def check_expirable(schema: TableSchema) -> None:
    """Refuse tables whose files are elsewhere, or more, than this release knows.

    Raises:
        UnsupportedFeature: naming option and value.
    """
    refuse(schema, REFUSED_VALUES, REFUSED_OPTIONS)
    schema.options.expiry.check()


def refuse(schema: TableSchema, values: Sequence[str], options: Sequence[str]) -> None:
    """Refuse values that desilt does not know of some options, and others if they are there at all.

    Raises:
        UnsupportedFeature: naming option and value.
    """
    raw = schema.raw_options
    for key in values:
        if key in raw and raw[key].strip().lower() not in ONLY[key]:
            raise UnsupportedFeature("option is not supported", option=key, value=raw[key])
    for key in options:
        if key in raw:
            raise UnsupportedFeature("option is not supported", option=key, value=raw[key])
