"""The address of a catalog's database, as Java and as Python write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import InvalidRequest, UnsupportedFeature
from .options import CatalogOptions

_PARAMETERS = {
    "user": "user",
    "password": "password",
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "connectTimeout": "connect_timeout",
    "connect_timeout": "connect_timeout",
    "ApplicationName": "application_name",
    "application_name": "application_name",
}
"""What Java's driver and libpq call the same thing."""


@dataclass(frozen=True, slots=True)
class SqliteAddress:
    """A database file."""

    path: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"sqlite:///{self.path}"


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A database of a server; ``parameters`` as libpq takes them, secrets among them."""

    hosts: str
    database: str
    time_zone: str
    parameters: Mapping[str, str] = field(repr=False)

    @property
    def place(self) -> str:
        """For messages."""
        return f"postgresql://{self.hosts}/{self.database}"


Address = SqliteAddress | PostgresAddress


def parse_address(options: CatalogOptions) -> Address:
    """The address in the options' uri.

    Raises:
        UnsupportedFeature: another database, or a parameter that is not known.
        InvalidRequest: no path, no database.
    """
    scheme, colon, rest = options.uri.removeprefix("jdbc:").partition(":")
    if not colon:
        raise InvalidRequest("the catalog's uri has no scheme", expected="jdbc:postgresql://…")
    if scheme == "sqlite":
        return _sqlite(rest, java=options.uri.startswith("jdbc:"))
    if scheme in ("postgresql", "postgres"):
        return _postgres(rest, options)
    raise UnsupportedFeature("the catalog's database is not supported", scheme=scheme)


def _sqlite(rest: str, *, java: bool) -> SqliteAddress:
    """Java: the path as it is; else three slashes before it, an absolute one begins with a 4th."""
    path = rest
    if not java:
        if not rest.startswith("///"):
            raise InvalidRequest("a sqlite uri has three slashes before its path")
        path = unquote(rest.removeprefix("///"))
    if path.startswith("file:") or "?" in path or ":memory:" in path:
        raise UnsupportedFeature("a sqlite uri holds a path and nothing else")
    if not path.strip():
        raise InvalidRequest("the sqlite uri holds no path")
    return SqliteAddress(path)


def _postgres(rest: str, options: CatalogOptions) -> PostgresAddress:
    try:
        parsed = urlsplit(f"postgresql:{rest}")
    except ValueError as error:
        # Without its text, which may hold the password.
        raise InvalidRequest("the catalog's uri cannot be read") from error
    if "@" in parsed.path:
        raise InvalidRequest("a slash in the uri's user or password is written as %2F")
    credentials, _, hosts = parsed.netloc.rpartition("@")
    database = unquote(parsed.path.removeprefix("/"))
    if not hosts or not database:
        raise InvalidRequest("the catalog's uri names no host or no database")
    user, colon, password = credentials.partition(":")
    parameters = {"user": unquote(user)} if user else dict[str, str]()
    if colon:
        parameters["password"] = unquote(password)
    for key, value in parse_qsl(parsed.query, keep_blank_values=True):
        if key == "ssl":
            parameters["sslmode"] = "verify-full" if value in ("", "true") else "prefer"
        elif key not in _PARAMETERS:
            raise UnsupportedFeature("parameter of the uri is not supported", parameter=key)
        else:
            parameters[_PARAMETERS[key]] = value
    if options.user is not None:
        parameters["user"] = options.user
    if options.password is not None:
        parameters["password"] = options.password
    return PostgresAddress(hosts, database, options.lock_time_zone, parameters)


def host_parameters(hosts: str) -> dict[str, str]:
    """``host`` and ``port`` as libpq takes them, of ``a:1,b:2``."""
    names: list[str] = []
    ports: list[str] = []
    for entry in hosts.split(","):
        name, colon, port = entry.rpartition(":")
        if not colon or entry.endswith("]"):
            name, port = entry, "5432"
        names.append(name.strip("[]"))
        ports.append(port)
    return {"host": ",".join(names), "port": ",".join(ports)}
