"""Every path of a table, as functions of its root (format §1.1), and the guard on file names."""

from __future__ import annotations

from .errors import CorruptTable


def numbered(name: str, prefix: str) -> int | None:
    """The id in a file's name, ``prefix`` in front; None for any other name."""
    digits = name.removeprefix(prefix)
    known = name.startswith(prefix) and digits.isascii() and digits.isdigit()
    return int(digits) if known else None


def schema_file(root: str, schema_id: int) -> str:
    return f"{root}/schema/schema-{schema_id}"


def schema_dir(root: str) -> str:
    return f"{root}/schema"


def snapshot_dir(root: str) -> str:
    return f"{root}/snapshot"


def snapshot_file(root: str, snapshot_id: int) -> str:
    return f"{root}/snapshot/snapshot-{snapshot_id}"


def latest_hint(root: str) -> str:
    return f"{root}/snapshot/LATEST"


def earliest_hint(root: str) -> str:
    return f"{root}/snapshot/EARLIEST"


def manifest_dir(root: str) -> str:
    return f"{root}/manifest"


def manifest_file(root: str, name: str) -> str:
    return f"{root}/manifest/{checked_name(name)}"


def index_dir(root: str) -> str:
    return f"{root}/index"


def index_file(root: str, name: str) -> str:
    return f"{root}/index/{checked_name(name)}"


def statistics_file(root: str, name: str) -> str:
    return f"{root}/statistics/{checked_name(name)}"


def tag_dir(root: str) -> str:
    return f"{root}/tag"


def tag_file(root: str, name: str) -> str:
    return f"{root}/tag/tag-{checked_name(name)}"


SUCCESS_FOLDER = "tag-success-file"


def tag_success_file(root: str, name: str) -> str:
    """What tells others that the tag is there, where the table asks for it."""
    return f"{root}/tag/{SUCCESS_FOLDER}/{checked_name(name)}_SUCCESS"


def branches_dir(root: str) -> str:
    return f"{root}/branch"


def branch_root(root: str, name: str) -> str:
    """Where a branch has its schemas, snapshots, tags; all other files are the table's own."""
    return f"{root}/branch/branch-{checked_name(name)}"


def consumer_dir(root: str) -> str:
    return f"{root}/consumer"


def consumer_file(root: str, consumer: str) -> str:
    return f"{root}/consumer/consumer-{checked_name(consumer)}"


def changelog_dir(root: str) -> str:
    return f"{root}/changelog"


def changelog_file(root: str, snapshot_id: int) -> str:
    return f"{root}/changelog/changelog-{snapshot_id}"


POSTPONE_BUCKET = -2


def bucket_dir(root: str, partition: str, bucket: int) -> str:
    """``partition`` is the directory text without slashes at its ends; empty without partitions."""
    middle = f"{partition}/" if partition else ""
    name = "postpone" if bucket == POSTPONE_BUCKET else bucket
    return f"{root}/{middle}bucket-{name}"


def data_file(directory: str, name: str) -> str:
    return f"{directory}/{checked_name(name)}"


def checked_name(name: str) -> str:
    """A file name from metadata, refused when it could leave its directory."""
    if not name or "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
        raise CorruptTable("file name escapes the table", file=name)
    return name
