"""Tables behind a server that owns names, schemas and snapshots; other files are ours as ever.

The server writes ``snapshot-<n>``. It may do so in other bytes than we sent, so a snapshot is
known by what it says. Spec: format §16; reference classes ``rest/RESTApi``, ``rest/RESTCatalog``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote, urlsplit

import msgspec

from ..errors import InvalidRequest, StorageUnavailable, TableMissing, UnsupportedFeature
from ..handle import TableHandle, World
from ..publish import Place
from ..schema import TableSchema, dump_schema
from ..storage import LocalStorage, Storage, StoreOptions, normal_path, open_storage
from ..storage.credentials import DataToken, TokenSource
from ..storage.opening import open_with_tokens
from .base import BaseCatalog, is_name, split_name
from .options import CatalogOptions
from .rest_client import RestClient, resource
from .rest_messages import (
    CommitAnswer,
    ConfigAnswer,
    DatabasesAnswer,
    SnapshotAnswer,
    TableAnswer,
    TablesAnswer,
    TokenAnswer,
)

TOKEN_SAFE_MILLIS = 3_600_000
"""A token is replaced when less than this is left of it, or half of it."""

PAGES_MAX = 100_000
_HEADER = "header."
_DATA_TOKEN = "data-token.enabled"


StoreMaker = Callable[[str, TokenSource | None], Storage]
"""The store of a table at a path; with the table's own credentials where the server gives them."""


class RestCatalog(BaseCatalog):
    """Tables of one warehouse of a server.

    Args:
        storage: the store that all tables lie in, or what makes one for each table.
    """

    def __init__(
        self,
        options: CatalogOptions,
        *,
        storage: Storage | StoreMaker | None = None,
        world: World | None = None,
    ) -> None:
        world = world or World()
        super().__init__(LocalStorage(), world)
        if storage is None:
            self._stores: StoreMaker = partial(_opened, options.store)
        else:
            self._stores = storage if callable(storage) else lambda path, token: storage
        self.warehouse = options.warehouse
        self._options = options
        headers = dict(options.headers)
        if options.token is not None:
            headers["Authorization"] = f"Bearer {options.token}"
        self._client = RestClient(options.uri, headers, world, timeout=options.request_timeout)
        self._guard = threading.Lock()
        self._config: Mapping[str, str] | None = None
        self._tokens: dict[str, _Tokens] = {}

    def databases(self) -> tuple[str, ...]:
        found = self._pages(self._path("databases"), DatabasesAnswer)
        return tuple(sorted(found))

    def tables(self, known: Collection[str] = ()) -> tuple[str, ...]:
        names: list[str] = []
        for database in self.databases():
            try:
                found = self._pages(self._path("databases", database, "tables"), TablesAnswer)
            except TableMissing:
                continue  # dropped since it was listed
            names += (f"{database}.{table}" for table in found)
        return tuple(sorted(names))

    def handle(self, name: str) -> TableHandle:
        """Where the server says that the table is.

        Raises:
            TableMissing: the server knows none.
            InvalidRequest: it lies where none may be.
            UnsupportedFeature: it is no table of this format.
        """
        database, table = split_name(name)
        answer = self._client.get(self._table_path(database, table), TableAnswer)
        kind = ((answer.schema and answer.schema.options) or {}).get("type", "table")
        if kind not in ("table", "materialized-table"):
            raise UnsupportedFeature("no table of this format", table=name, type=kind)
        root = self._root(name, answer.path)
        token = self.tokens(name) if self._data_token() else None
        publisher = ThroughServer(self._client, self._table_path(database, table), answer.id)
        return TableHandle(name, root, self._stores(root, token), self._world, publisher)

    def tokens(self, name: str) -> TokenSource:
        """The table's own credentials, asked for again before they expire."""
        path = self._table_path(*split_name(name)) + "/token"
        with self._guard:
            if name not in self._tokens:
                self._tokens[name] = _Tokens(self._client, path, self._world.now_millis)
            return self._tokens[name].current

    def latest_snapshot(self, name: str) -> Mapping[str, object] | None:
        """What the server holds for the table's latest snapshot; None: there is none."""
        path = self._table_path(*split_name(name)) + "/snapshot"
        try:
            answer = self._client.get(path, SnapshotAnswer).snapshot
        except TableMissing:
            return None
        return None if answer is None else answer.snapshot

    def create_database(self, name: str) -> None:
        if not is_name(name):
            raise InvalidRequest("no name of a database", name=name)
        if name not in self.databases():
            body = {"name": name, "options": dict[str, str]()}
            self._client.post(self._path("databases"), body, type(None))

    def close(self) -> None:
        self._client.close()

    def _register(self, name: str, schema: TableSchema) -> TableHandle:
        database, table = split_name(name)
        raw = json.loads(dump_schema(schema))
        body = {
            "identifier": {"database": database, "object": table},
            "schema": {
                key: raw.get(key)
                for key in ("fields", "partitionKeys", "primaryKeys", "options", "comment")
            },
        }
        self._client.post(self._path("databases", database, "tables"), body, type(None))
        return self.handle(name)

    # --- the server -----------------------------------------------------------------------------

    def _configured(self) -> Mapping[str, str]:
        """Our options, merged with what the server wants; asked once."""
        with self._guard:
            if self._config is None:
                ours = {"prefix": self._options.prefix} if self._options.prefix else {}
                if self._options.data_token:
                    ours[_DATA_TOKEN] = "true"
                query = {"warehouse": self.warehouse} if self.warehouse else None
                answer = self._client.get("/v1/config", ConfigAnswer, query)
                merged = answer.merged(ours)
                if merged.get("token.provider", "bear") != "bear":
                    raise UnsupportedFeature(
                        "the token provider is not supported",
                        token_provider=merged["token.provider"],
                    )
                self._client.with_headers(
                    {
                        key.removeprefix(_HEADER): value
                        for key, value in merged.items()
                        if key.startswith(_HEADER)
                    }
                )
                self._config = merged
            return self._config

    def _data_token(self) -> bool:
        return self._configured().get(_DATA_TOKEN, "").lower() == "true"

    def _path(self, *parts: str) -> str:
        return resource(self._configured().get("prefix", ""), *parts)

    def _table_path(self, database: str, table: str) -> str:
        return self._path("databases", database, "tables", table)

    def _pages(self, path: str, kind: type[DatabasesAnswer] | type[TablesAnswer]) -> list[str]:
        names: list[str] = []
        query: dict[str, str] | None = None
        for _ in range(PAGES_MAX):
            page = self._client.get(path, kind, query)
            names += page.names
            if not page.next_page_token or not page.names:
                return names
            query = {"pageToken": page.next_page_token}
        raise StorageUnavailable("the server's list does not end", resource=path)

    def _root(self, name: str, path: str) -> str:
        """The table's root as its store calls it, if tables may be there."""
        if ".." in unquote(path).split("/") or any(ord(c) < 32 for c in path):
            raise InvalidRequest("the server's path is refused", table=name, path=path)
        try:
            scheme = urlsplit(path).scheme
        except ValueError as error:
            raise InvalidRequest("the server's path is refused", table=name, path=path) from error
        if scheme not in ("", "file") or path.startswith(("/", "file:")):
            root = normal_path(path)
        else:
            raise InvalidRequest("the server's path is refused", table=name, path=path)
        roots = [normal_path(r) for r in self._options.data_roots]
        free = not roots and scheme not in ("", "file")
        if not free and not any(root.startswith(f"{r}/") for r in roots):
            raise InvalidRequest("the table lies outside of the data roots", table=name, path=path)
        return root


@dataclass(frozen=True, slots=True)
class ThroughServer:
    """The server makes the snapshot's file, if the base is still its latest snapshot.

    ``table_id`` keeps a commit from a table that was dropped and made anew.
    """

    client: RestClient
    path: str
    table_id: str

    def publish(self, place: Place, snapshot_id: int, content: bytes, base: bytes | None) -> bool:
        snapshot = msgspec.Raw(content)
        before = None if base is None else json.loads(base).get("uuid")
        body = {
            "tableId": self.table_id,
            "baseSnapshotUuid": before,
            "snapshot": snapshot,
            "statistics": list[object](),
        }
        try:
            return self.client.post(f"{self.path}/commit", body, CommitAnswer).success
        except InvalidRequest as error:
            if error.context.get("status") == 409:  # what it collided with may be our own
                raise StorageUnavailable(error.message, **error.context) from error
            raise

    def quiet(self, place: Place) -> AbstractContextManager[None]:
        """Nothing: the server has no lock to lend."""
        return nullcontext()

    def alone(self, place: Place) -> AbstractContextManager[None]:
        """There is no way to keep others from committing to the server."""
        raise UnsupportedFeature(
            "only the server itself can do this to its tables", table=place.table
        )


def _opened(options: StoreOptions, path: str, tokens: TokenSource | None) -> Storage:
    return (
        open_storage(path, options) if tokens is None else open_with_tokens(path, options, tokens)
    )


class _Tokens:
    """One table's credentials."""

    def __init__(self, client: RestClient, path: str, now_millis: Callable[[], int]) -> None:
        self._client = client
        self._path = path
        self._now = now_millis
        self._guard = threading.Lock()
        self._token: DataToken | None = None
        self._renew_at = 0

    def current(self) -> DataToken:
        """A token that is good for a while; the old one as long as it is, if there is no new one.

        Raises:
            StorageUnavailable: there is none.
        """
        with self._guard:
            now, token = self._now(), self._token
            if token is None or now >= self._renew_at:
                try:
                    return self._renewed(now)
                except StorageUnavailable:
                    if token is None or now >= token.expires_at_millis:
                        raise
                    return token
            return token

    def _renewed(self, now: int) -> DataToken:
        answer = self._client.get(self._path, TokenAnswer)
        left = answer.expires_at_millis - now
        if left <= 0:
            raise StorageUnavailable("the server gave a token that is expired", resource=self._path)
        self._token = DataToken(answer.token, answer.expires_at_millis)
        self._renew_at = answer.expires_at_millis - min(TOKEN_SAFE_MILLIS, left // 2)
        return self._token
