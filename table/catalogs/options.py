"""What a catalog is opened with: plain data, given as values; secrets stay out of every text.

Spec: format §16; reference classes ``options/CatalogOptions``, ``jdbc/JdbcCatalogOptions``,
``rest/RESTCatalogOptions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import InvalidRequest, UnsupportedFeature
from ..storage import StoreOptions

KINDS = ("filesystem", "jdbc", "rest")
_REFUSED = {
    "hive": "the metastore speaks Thrift: use a filesystem catalog on the same warehouse where "
    "no other engine needs the metastore's lock",
}


@dataclass(frozen=True, slots=True)
class CatalogOptions:
    """One catalog.

    Attributes:
        kind: ``filesystem``, ``jdbc`` or ``rest``.
        warehouse: root of the tables; for ``rest`` the warehouse's name at the server.
        uri: jdbc: of the database, as ``jdbc:postgresql://host:port/db``, ``postgresql://…``,
            ``jdbc:sqlite:/path`` or ``sqlite:////path``; rest: ``https://…``.
        key: jdbc: Paimon's ``catalog-key``; several catalogs may share a database.
        user, password: jdbc: they replace those in the uri.
        token_provider, token: rest: only ``bear`` (a bearer token) is known.
        prefix: rest: what the server does not say itself; part of every path.
        headers: rest: sent with every request.
        data_token: rest: ask for each table's own credentials (Paimon's ``data-token.enabled``).
        data_roots: rest: tables must lie below one of these; needed for local paths.
        lock_check_max_sleep: jdbc: longest wait between two tries, seconds.
        lock_acquire_timeout: jdbc: how long to try, and when a lock that is held expires, seconds.
        lock_time_zone: jdbc on PostgreSQL: the time zone of the other writers' JVMs. Paimon keeps
            the lock's time without a zone, so all its clients must agree.
        store: how an object store is spoken to.
        request_timeout: rest: for one answer, seconds.
    """

    kind: str = "filesystem"
    warehouse: str = ""
    uri: str = field(default="", repr=False)
    key: str = "jdbc"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token_provider: str = "bear"
    token: str | None = field(default=None, repr=False)
    prefix: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    data_token: bool = False
    data_roots: tuple[str, ...] = ()
    lock_check_max_sleep: float = 8.0
    lock_acquire_timeout: float = 480.0
    lock_time_zone: str = "UTC"
    request_timeout: float = 30.0
    store: StoreOptions = field(default_factory=StoreOptions)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnsupportedFeature(
                "no such kind of catalog", kind=self.kind, reason=_REFUSED.get(self.kind)
            )
        if self.kind != "filesystem" and not self.uri:
            raise InvalidRequest("the catalog needs a uri", kind=self.kind)
        if self.kind == "rest" and self.token_provider != "bear":
            raise UnsupportedFeature(
                "the token provider is not supported", token_provider=self.token_provider
            )
        if not self.key:
            raise InvalidRequest("the catalog key is empty")
        if self.lock_check_max_sleep <= 0 or self.lock_acquire_timeout < 1:
            raise InvalidRequest(
                "a lock needs a second at least",
                check_max_sleep=self.lock_check_max_sleep,
                acquire_timeout=self.lock_acquire_timeout,
            )
