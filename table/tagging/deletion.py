"""What deleting tags would do, as plain data: which go, and which files with them.

A tag's files go with it unless somebody else can read one of them: a snapshot, another tag, a
branch, a long-lived changelog, a running task. Java asks the tags and the snapshot next to it, and
no branch at all; everybody is asked here, for the reasons that `expiry/holders.py` gives.

A tag whose files are not all there is deleted alone: what it still holds is for the orphan cleaner.

Spec: maintenance §10.4; reference classes ``utils/TagManager``, ``operation/TagDeletion``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from .. import paths
from ..errors import CommitConflict, FileMissing, InvalidRequest, UnsupportedFeature
from ..expiry.files import (
    FILES_SCHEMA,
    REMOVED_SCHEMA,
    ROWS,
    FileKind,
    MetadataKind,
    metadata_files,
    placed,
)
from ..expiry.holders import Chain, Holder, Holders, digest, kept_chain, read_holders, since
from ..expiry.names import NameReader
from ..expiry.plan import Protection
from ..expiry.range import NOTHING_IN_USE, InUse
from ..expiry.reach import ReachReader
from ..handle import TableHandle
from ..manifest.entry import SLIM_SCHEMA, EntryKind
from ..retention import check_expirable
from ..schema import TableSchema
from ..snapshot import Snapshot
from ..tags import Tag, check_tag_name, read_tags, same_state

# Every holder is asked for its whole state: a tag's files are no removals, so no delta names them.
_ASK_ALL = 2**62
# Readers of changes never come to a tag: its changelog goes with the snapshot.
_METADATA = frozenset({MetadataKind.ROWS, MetadataKind.INDEX})
_IDENTITY = ("partition", "bucket", "level", "name")


@dataclass(frozen=True, slots=True)
class GoingTag:
    """A tag that goes, known by its file's content. ``alone``: why no file goes with it."""

    name: str
    snapshot_id: int
    digest: str
    alone: str | None = None


@dataclass(frozen=True, slots=True)
class TagDeletion:
    """What deleting tags would do, and what it rests on.

    ``files``: FILES_SCHEMA, in the order of their deletion; ``protections``: files that stay;
    ``looked``: keys of all holders that were asked, ``ids``: of all snapshots there were.
    """

    table: str
    schema_id: int
    going: tuple[GoingTag, ...]
    clean_directories: bool
    success_files: bool
    protections: tuple[Protection, ...] = ()
    looked: frozenset[str] = field(default=frozenset(), repr=False)
    ids: tuple[int, ...] = field(default=(), repr=False)
    files: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema=FILES_SCHEMA), compare=False, repr=False
    )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(tag.name for tag in self.going)

    def counts(self) -> dict[str, int]:
        """Files by kind; every kind is there."""
        found = dict(self.files.group_by("kind").len().iter_rows())
        return {kind.value: int(found.get(kind.value, 0)) for kind in FileKind}

    def as_dict(self, *, files: bool = False) -> dict[str, object]:
        """Plain data for JSON; ``files``: with every path."""
        listed = {"files": self.files.select("kind", "path", "size_bytes").to_dicts()}
        return {
            "table": self.table,
            "tags": [
                {"tag": t.name, "snapshot_id": t.snapshot_id, "file_alone_because": t.alone}
                for t in self.going
            ],
            "counts": self.counts(),
            "size_bytes": int(self.files["size_bytes"].sum()),
            "protected": [
                {"by": p.holder, "files": p.files, "size_bytes": p.size_bytes}
                for p in self.protections
            ],
            **(listed if files else {}),
        }


def plan_deletion(
    handle: TableHandle,
    names: Sequence[str],
    *,
    in_use: InUse = NOTHING_IN_USE,
    reader: NameReader | None = None,
) -> TagDeletion:
    """What deleting these tags would do now.

    Raises:
        InvalidRequest: one of them does not exist.
        CommitConflict: the table changed while it was looked at, or a running task reads a tag.
        FileMissing: somebody else who was asked names a file that is gone; as ``holder``.
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
    """
    for name in names:
        check_tag_name(name)
    schema = check_taggable(handle)
    tags = {tag.name: tag for tag in read_tags(handle)}
    missing = [name for name in names if name not in tags]
    if missing:
        raise InvalidRequest("no such tag", tag=missing[0])
    going = [tags[name] for name in dict.fromkeys(names)]
    return plan_release(handle, schema, going, in_use=in_use, reader=reader)


def check_taggable(handle: TableHandle) -> TableSchema:
    """The newest schema, of a table whose tags may be changed here.

    Raises:
        UnsupportedFeature: its files are elsewhere, or others must be told of its tags.
    """
    schema = handle.latest_schema()
    check_expirable(schema)
    for key in ("tag.callbacks", "metastore.tag-to-partition"):
        if schema.raw_options.get(key, "").strip():
            raise UnsupportedFeature(
                "option is not supported", option=key, value=schema.raw_options[key]
            )
    schema.options.tags.check()
    return schema


def plan_release(
    handle: TableHandle,
    schema: TableSchema,
    going: Sequence[Tag],
    *,
    in_use: InUse = NOTHING_IN_USE,
    reader: NameReader | None = None,
) -> TagDeletion:
    """The same for tags that were read already; they need not be there any more."""
    options = schema.options
    plan = TagDeletion(
        table=handle.name,
        schema_id=schema.id,
        going=tuple(GoingTag(t.name, t.snapshot.id, digest(t.snapshot)) for t in going),
        clean_directories=options.expiry.clean_directories,
        success_files=options.tags.success_files,
    )
    if not going:
        return plan
    names = reader or NameReader(handle)
    ids = handle.snapshots.ids()
    holders = _others(handle, names, ids, going)
    return _Release(handle, schema, names, holders).plan(replace(plan, ids=ids), going, in_use)


def _others(
    handle: TableHandle, names: NameReader, ids: Iterable[int], going: Sequence[Tag]
) -> Holders:
    """Everybody but the tags that go."""
    found = [s for i in ids if (s := handle.snapshots.find(i)) is not None]
    kept = _readable(names, kept_chain(handle.root, found))
    holders = read_holders(handle, kept, changelogs=True)
    gone = {(paths.tag_file(handle.root, t.name), t.snapshot.content) for t in going}
    stay = tuple(h for h in holders.tags if (h.path, h.snapshot.content) not in gone)
    return replace(holders, tags=stay)


def _readable(names: NameReader, kept: Chain) -> Chain:
    """Without those that an expiry has begun to take apart: nobody can read them, and what is left
    of them goes with the next expiry. The latest must be whole."""
    found: list[Holder] = []
    for holder in kept[:-1]:
        for changelog in (True, False):
            try:
                list(names.metadata(holder.snapshot, changelog=changelog))
            except FileMissing:
                continue
            found.append(replace(holder, changelog=changelog))
            break
    return (*found, *kept[-1:])


class _Release:
    """One look at what some tags alone hold."""

    def __init__(
        self, handle: TableHandle, schema: TableSchema, names: NameReader, holders: Holders
    ) -> None:
        self._handle = handle
        self._schema = schema
        self._names = names
        self._holders = holders

    def plan(self, plan: TagDeletion, going: Sequence[Tag], in_use: InUse) -> TagDeletion:
        marked: list[GoingTag] = []
        states: list[Snapshot] = []
        live = [pl.DataFrame(schema=REMOVED_SCHEMA)]
        for tag, entry in zip(going, plan.going, strict=True):
            alone = self._shared(tag.snapshot)
            if alone is None and tag.snapshot.id in in_use.snapshots:
                raise CommitConflict(
                    "a running task reads a snapshot", snapshot_id=tag.snapshot.id, tag=tag.name
                )
            if alone is None:
                try:
                    live.append(_live(self._names, tag.snapshot))
                    states.append(tag.snapshot)
                except FileMissing as error:
                    alone = f"a file is missing: {error.context.get('file')}"
            marked.append(replace(entry, alone=alone))
        plan = replace(plan, going=tuple(marked), looked=frozenset(self._keys()))
        return self._with_files(plan, states, pl.concat(live), in_use) if states else plan

    def _keys(self) -> Iterator[str]:
        return (holder.key for holder in self._holders.all())

    def _shared(self, snapshot: Snapshot) -> str | None:
        """Somebody else who holds all of it."""
        for holder in self._holders.all():
            if not holder.partial and same_state(holder.snapshot, snapshot):
                return f"{holder.label} is the same"
        return None

    def _with_files(
        self, plan: TagDeletion, states: Sequence[Snapshot], live: pl.DataFrame, in_use: InUse
    ) -> TagDeletion:
        reach = ReachReader(self._handle, self._names, live, _ASK_ALL).reach(self._holders)
        free = live.join(reach.data, on="name", how="anti")
        read = free.filter(pl.col("name").is_in(list(in_use.files)))
        if read.height:
            raise CommitConflict("a running task reads a file", file=read["name"][0])
        files = [
            placed(self._schema, free, FileKind.DATA),
            metadata_files(self._names, states, reach.metadata, _METADATA),
        ]
        order = pl.Enum([kind.value for kind in FileKind])
        every = pl.concat(files).unique("path", keep="first")
        every = every.sort(pl.col("kind").cast(order), "path")
        return replace(plan, files=every, protections=_protections(live, reach.data))


def _live(names: NameReader, snapshot: Snapshot) -> pl.DataFrame:
    """Live files, REMOVED_SCHEMA; counted, so that what is said twice errs towards keeping it in
    the question, where others who hold it are asked."""
    parts = [names.entries(meta.name) for meta in names.manifests(snapshot)]
    entries = pl.concat([pl.DataFrame(schema=SLIM_SCHEMA), *parts])
    added = pl.when(pl.col("kind") == EntryKind.ADD).then(1).otherwise(-1).sum()
    counted = entries.group_by(_IDENTITY).agg(added.alias("times"))
    live = entries.filter(pl.col("kind") == EntryKind.ADD).join(
        counted.filter(pl.col("times") > 0), on=_IDENTITY, how="semi"
    )
    list(names.metadata(snapshot, changelog=False))  # all of it must be there
    number = pl.lit(snapshot.id, pl.Int64).alias("snapshot_id")
    return live.with_columns(number).select(*REMOVED_SCHEMA)


def _protections(live: pl.DataFrame, held: pl.DataFrame) -> tuple[Protection, ...]:
    """Files that stay by who holds them; a file that several hold counts for each."""
    sizes = live.select("name", "size_bytes").unique("name")
    grouped = held.join(sizes, on="name").group_by("holder")
    counted = grouped.agg(pl.len(), pl.col("size_bytes").sum()).sort("holder")
    return tuple(Protection(str(h), int(n), int(size)) for h, n, size in counted.iter_rows())


# --- looking again --------------------------------------------------------------------------------


def held_names(plan: TagDeletion, handle: TableHandle, reader: NameReader) -> frozenset[str]:
    """Names of the plan's files that somebody holds who came since.

    Raises:
        CommitConflict: one of those went away meanwhile; look again.
        FileMissing: one of those names a file that is gone; as ``holder``.
    """
    now_ids = [i for i in handle.snapshots.ids() if i not in plan.ids or i >= max(plan.ids)]
    found = (handle.snapshots.find(i) for i in now_ids)
    kept = kept_chain(handle.root, (s for s in found if s is not None))
    now = read_holders(handle, kept, changelogs=True)
    going = {(paths.tag_file(handle.root, t.name), t.digest) for t in plan.going}
    tags = tuple(h for h in now.tags if (h.path, digest(h.snapshot)) not in going)
    fresh = since(replace(now, tags=tags), plan.looked)
    if not any(fresh.all()):
        return frozenset()
    named = pl.col("path").str.extract(r"([^/]*)$").alias("name")
    rows = pl.col("kind").is_in([kind.value for kind in ROWS])
    wanted = plan.files.filter(rows).select(named, snapshot_id=pl.lit(0, pl.Int64))
    reach = ReachReader(handle, reader, wanted, _ASK_ALL).reach(fresh)
    return frozenset(reach.data["name"].to_list()) | reach.metadata
