"""Paths of objects, ``s3://bucket/key``; ``s3a`` and ``s3n`` mean the same, as in Paimon."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidRequest

SCHEMES = ("s3", "s3a", "s3n")

_URI = re.compile(r"s3[an]?://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{1,62})(/(?P<key>.*))?")


@dataclass(frozen=True, slots=True)
class ObjectPath:
    """An object, or a prefix; ``path`` is how the caller wrote it."""

    bucket: str
    key: str
    path: str


def object_path(path: str) -> ObjectPath:
    """The object that the path names.

    Raises:
        InvalidRequest: another scheme, no bucket, or a path that would mean another place on disk.
    """
    matched = _URI.fullmatch(path)
    if matched is None:
        raise InvalidRequest("not a path of an object store", path=path)
    key = matched["key"] or ""
    if any(part in (".", "..") for part in key.split("/")) or "//" in f"/{key}" or "\0" in key:
        raise InvalidRequest("the path leaves its folder", path=path)
    return ObjectPath(matched["bucket"], key, path)
