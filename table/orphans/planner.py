"""Makes the plan: lists first, asks who uses what is listed then."""

from __future__ import annotations

import polars as pl

from ..expiry.names import NameReader
from ..expiry.range import NOTHING_IN_USE, InUse
from ..handle import TableHandle
from ..retention import REFUSED_OPTIONS, REFUSED_VALUES, refuse
from ..schema import TableSchema
from .holders import holder_files, read_files
from .listing import EXTERNAL_PATHS, empty_folders, list_candidates
from .plan import OrphanPlan, OrphanSettings
from .used import UsedNames

# Data files elsewhere are named by entries like all others, so nothing is misjudged.
_KNOWN = (EXTERNAL_PATHS, "data-file.external-paths.strategy")
DEFAULTS = OrphanSettings()


def check_cleanable(schema: TableSchema) -> None:
    """Refuse tables that may use files in ways that this release does not know.

    Raises:
        UnsupportedFeature: naming option and value.
    """
    values = tuple(key for key in REFUSED_VALUES if key not in _KNOWN)
    refuse(schema, values, tuple(key for key in REFUSED_OPTIONS if key not in _KNOWN))


def plan_orphans(
    handle: TableHandle,
    settings: OrphanSettings = DEFAULTS,
    in_use: InUse = NOTHING_IN_USE,
    *,
    names: NameReader | None = None,
) -> OrphanPlan:
    """What an orphan clean would delete now.

    Args:
        in_use: what running tasks read and write; it stays.
        names: metadata read before; a fresh reader by default.

    Raises:
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
        CommitConflict: the table changed while it was looked at; look again.
    """
    schema = handle.latest_schema()
    check_cleanable(schema)
    now = handle.world.now_millis()
    cut = now - settings.older_than_millis
    storage, root = handle.storage, handle.root
    listing = list_candidates(storage, root, schema, cut, external=settings.external)
    depth = len(schema.partition_keys)
    folders = empty_folders(storage, root, depth, listing.occupied, cut)
    files = holder_files(handle)
    reader = names or NameReader(handle)
    used = UsedNames(handle, reader)
    left = used.unused(listing.files, tuple(read_files(handle, files)))
    reader.forget_unasked()  # here everything that is still in use was asked for
    return OrphanPlan(
        table=handle.name,
        path=root,
        schema_id=schema.id,
        made_millis=now,
        cut_millis=cut,
        settings=settings,
        candidates=listing.files.height,
        young=listing.young,
        files=not_in_use(left, in_use),
        folders=folders,
        looked=frozenset(file.mark for file in files),
        manifests=frozenset(used.manifests),
    )


def not_in_use(files: pl.DataFrame, in_use: InUse) -> pl.DataFrame:
    """Files that no running task reads, and that none has written, as far as names tell."""
    left = files.filter(~pl.col("name").is_in(list(in_use.files)))
    if in_use.tasks:
        left = left.filter(~pl.col("name").str.contains_any(sorted(in_use.tasks)))
    return left
