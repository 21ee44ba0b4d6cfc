"""What lies where a table's files lie, and is old enough: candidates, as a frame.

One recursive listing, streamed into frames: on an object store that is one request for every
thousand files, wherever they are. What is none of the table's business (a folder that is no
partition, a file beside the buckets, schemas, tags, branches' names, consumers) is never a
candidate, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote, urlparse

import polars as pl

from ..errors import UnsupportedFeature
from ..schema import TableSchema
from ..storage import Directories, FileStatus, Storage, is_text
from .plan import ORPHANS_SCHEMA, Place

BATCH = 50_000
"""Files to a frame; a few megabytes."""

EXTERNAL_PATHS = "data-file.external-paths"
# Files of blobs that are managed by others: nothing in a manifest names them.
_NEVER = r"\.managed\.blob$"
_OWN = r"^(?:(?:snapshot|changelog)-|(?:EARLIEST|LATEST)$)"


@dataclass(frozen=True, slots=True)
class Listing:
    """``files``: candidates, ORPHANS_SCHEMA; ``young``: how many were too young; ``occupied``:
    folders below the root that hold data files of any age, where the store has folders."""

    files: pl.DataFrame
    young: int
    occupied: frozenset[str]


def list_candidates(
    storage: Storage, root: str, schema: TableSchema, cut_millis: int, *, external: bool
) -> Listing:
    """Everything that might be an orphan.

    Args:
        cut_millis: what was written from then on is too young.
        external: look below the table's external data paths, too.

    Raises:
        StorageUnavailable: it cannot be listed whole.
        UnsupportedFeature: an external path in another store.
    """
    depth = len(schema.partition_keys)
    lister = _Lister(storage, cut_millis)
    lister.add(root, _places(depth), "")
    if external:
        for place in external_roots(schema, root):
            lister.add(place, {Place.DATA: _buckets(depth)}, f"{place}/")
    return lister.listing()


def external_roots(schema: TableSchema, root: str) -> tuple[str, ...]:
    """The table's external data paths as paths of its store; none of them around its root."""
    text = schema.raw_options.get(EXTERNAL_PATHS, "")
    found = dict.fromkeys(
        _same_store(part.strip(), root) for part in text.split(",") if part.strip()
    )
    return tuple(p for p in found if not f"{root}/".startswith(f"{p}/"))


def _same_store(uri: str, root: str) -> str:
    try:
        parsed, own = urlparse(uri), urlparse(root)
    except ValueError as error:
        raise UnsupportedFeature(
            "external path cannot be read", option=EXTERNAL_PATHS, value=uri
        ) from error
    path = uri
    if parsed.scheme == "file":
        path = unquote(parsed.path)
    if urlparse(path).scheme != own.scheme or not (own.scheme or path.startswith("/")):
        raise UnsupportedFeature(
            "external path lies in another store", option=EXTERNAL_PATHS, value=uri
        )
    return path.rstrip("/")


class _Lister:
    """Gathers candidates of several places."""

    def __init__(self, storage: Storage, cut_millis: int) -> None:
        self._storage = storage
        self._cut = cut_millis
        self._found = [pl.DataFrame(schema=ORPHANS_SCHEMA)]
        self._young = 0
        self._occupied: set[str] = set()

    def add(self, root: str, places: dict[Place, str], prefix: str) -> None:
        walk = self._storage.walk(root)
        while batch := list(islice(walk, BATCH)):
            frame = _placed([found for found in batch if is_text(found[0])], places)
            if not prefix and isinstance(self._storage, Directories):
                data = frame.filter(pl.col("place") == Place.DATA.value)["path"]
                self._occupied.update(data.str.extract(r"^(.*)/").unique().to_list())
            old = frame.filter(pl.col("modified_millis") < self._cut)
            self._young += frame.height - old.height
            self._found.append(old.with_columns(path=pl.lit(prefix) + pl.col("path")))

    def listing(self) -> Listing:
        files = pl.concat(self._found).unique("path").sort("path")
        return Listing(files, self._young, frozenset(self._occupied))


def _placed(batch: list[tuple[str, FileStatus]], places: dict[Place, str]) -> pl.DataFrame:
    """Files of the batch that lie in one of these places, ORPHANS_SCHEMA."""
    frame = pl.DataFrame(
        {
            "path": [path for path, _ in batch],
            "name": [status.name for _, status in batch],
            "size_bytes": [status.size_bytes for _, status in batch],
            "modified_millis": [status.modified_millis for _, status in batch],
        },
        schema={name: dtype for name, dtype in ORPHANS_SCHEMA.items() if name != "place"},
    )
    place = pl.lit(None, pl.String)
    for name, pattern in places.items():
        there = pl.col("path").str.contains(pattern)
        place = pl.when(there).then(pl.lit(name.value)).otherwise(place)
    own = pl.col("place").is_in([Place.SNAPSHOT.value, Place.CHANGELOG.value])
    kept = pl.col("name").str.contains(_NEVER) | (own & pl.col("name").str.contains(_OWN))
    found = frame.with_columns(place=place).drop_nulls("place").filter(~kept)
    return found.select(*ORPHANS_SCHEMA)


def _buckets(depth: int) -> str:
    """Files in folders of buckets, as deep as there are partition keys."""
    return rf"^(?:[^/]*=[^/]*/){{{depth}}}bucket-[^/]*/[^/]+$"


def _places(depth: int) -> dict[Place, str]:
    branch = r"(?:branch/branch-[^/]+/)?"
    return {
        Place.DATA: _buckets(depth),
        Place.INDEX: r"^index/[^/]+$",
        Place.MANIFEST: r"^manifest/[^/]+$",
        Place.STATISTICS: r"^statistics/[^/]+$",
        Place.SNAPSHOT: rf"^{branch}snapshot/[^/]+$",
        Place.CHANGELOG: rf"^{branch}changelog/[^/]+$",
    }


# --- folders --------------------------------------------------------------------------------------


def empty_folders(
    storage: Storage, root: str, depth: int, occupied: frozenset[str], cut_millis: int
) -> tuple[str, ...]:
    """Folders of partitions and buckets with nothing in them, changed last before the cut; sorted.

    None where the store has no folders.
    """
    if not isinstance(storage, Directories):
        return ()
    search = _EmptyFolders(storage, root, occupied, cut_millis)
    return tuple(sorted(search.below("", storage.list(root), depth)))


@dataclass(frozen=True, slots=True)
class _EmptyFolders:
    """Looks for them, but not in folders known to be occupied."""

    storage: Storage
    root: str
    occupied: frozenset[str]
    cut_millis: int

    def below(self, folder: str, entries: Sequence[FileStatus], depth: int) -> Iterator[str]:
        """Of a folder with these entries, and ``depth`` levels of partitions before the buckets."""
        for status in entries:
            path = f"{folder}/{status.name}".lstrip("/")
            if not status.is_dir or not _is_level(status.name, depth) or path in self.occupied:
                continue
            inside = self.storage.list(f"{self.root}/{path}")
            if not inside and status.modified_millis < self.cut_millis:
                yield path
            elif depth > 0:
                yield from self.below(path, inside, depth - 1)


def _is_level(name: str, depth: int) -> bool:
    return "=" in name if depth > 0 else name.startswith("bucket-")
