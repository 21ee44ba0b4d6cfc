"""From a place to its store: a plain path or ``file:`` means this machine, ``s3:`` a bucket."""

from __future__ import annotations

import threading
from pathlib import Path
from urllib.parse import unquote, urlparse

from ..errors import InvalidRequest, UnsupportedFeature
from .base import Storage
from .credentials import TokenSource
from .local import LocalStorage
from .object_path import SCHEMES, object_path
from .options import StoreOptions

HANDED_OUT_MAX = 8
"""Stores kept whose credentials a catalog handed out: for an hour, and then there is another."""

_mutex = threading.Lock()
_stores: dict[tuple[str, StoreOptions], Storage] = {}


def normal_path(uri: str) -> str:
    """The one way in which this place is written: an absolute path, or ``s3://bucket/key``.

    Raises:
        UnsupportedFeature: another scheme.
        InvalidRequest: no path, one on another host, or one that leaves its folder.
    """
    try:
        parsed = urlparse(uri)
    except ValueError as error:  # such as brackets that hold no address
        raise InvalidRequest("not a path", path=repr(uri), reason=str(error)) from error
    if parsed.scheme in SCHEMES:
        place = object_path(uri.rstrip("/"))
        return f"{parsed.scheme}://{place.bucket}/{place.key}".rstrip("/")
    if parsed.scheme == "file" and parsed.netloc not in ("", "localhost"):
        raise InvalidRequest("a file URI has three slashes", uri=uri)
    if parsed.scheme in ("", "file"):
        path = unquote(parsed.path) if parsed.scheme == "file" else uri
        if not path.strip():
            raise InvalidRequest("the path is empty", uri=repr(uri))
        try:
            return str(Path(path).expanduser().absolute()).rstrip("/") or "/"
        except RuntimeError as error:  # of somebody who is not known here
            raise InvalidRequest("the path has no home", path=path) from error
    raise UnsupportedFeature("scheme is not supported", scheme=parsed.scheme, uri=uri)


def is_remote(path: str) -> bool:
    """Whether the path is in an object store."""
    return path.partition(":")[0].lower() in SCHEMES


def open_with_tokens(path: str, options: StoreOptions, tokens: TokenSource) -> Storage:
    """As `open_storage`, with credentials that are asked for again before they expire.

    Raises:
        StorageUnavailable: there are none.
    """
    normal = normal_path(path)
    if not is_remote(normal):
        return LocalStorage()
    return _bucket(object_path(normal).bucket, options, tokens)


def open_storage(path: str, options: StoreOptions | None = None) -> Storage:
    """The store that holds this path; one for each bucket and its options in a process.

    Raises:
        UnsupportedFeature, InvalidRequest: as `normal_path`.
        StorageUnavailable: no client can be made.
    """
    normal = normal_path(path)
    if not is_remote(normal):
        return LocalStorage()
    bucket, options = object_path(normal).bucket, options or StoreOptions()
    with _mutex:
        store = _stores.pop((bucket, options), None) or _bucket(bucket, options)
        _stores[bucket, options] = store  # behind all others: the first is the one unused longest
        handed_out = [key for key in _stores if key[1].access_key is not None]
        for old in handed_out[:-HANDED_OUT_MAX]:
            del _stores[old]
        return store


def _bucket(bucket: str, options: StoreOptions, tokens: TokenSource | None = None) -> Storage:
    """Its client is only imported by those who need it: that takes longer than all else here."""
    from .s3 import S3Storage

    return S3Storage(bucket, options, tokens=tokens)
