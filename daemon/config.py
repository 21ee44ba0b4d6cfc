"""The YAML file as types: every key, its default, its unit and its meaning.

`load` is the only reader of the file. What it returns has been checked whole: each policy has
been made once, each cron expression parsed; a daemon that started does not stumble over its
configuration later. The rest of the daemon gets the section it needs, never the whole.

``docs/configuration.md`` is made from the docstrings here by ``scripts/make_config_docs.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec
import yaml

from ..policies.errors import PolicyConfigError, PolicyError
from ..policies.match import check_pattern
from ..policies.registry import load_registry, policy_from_config
from .config_catalog import KINDS, REFUSED_KINDS, CatalogConfig, Name, Text
from .config_upkeep import (
    OrphansConfig,
    PartitionsConfig,
    ScanInterval,
    SnapshotsConfig,
    TagsConfig,
    problem_of,
)
from .errors import ConfigError
from .schedule import Cron, Every
from .units import Duration, Size, parse_duration, parse_size

# A file of this size is no configuration, and the parser needs many times its bytes in memory.
CONFIG_BYTES_MAX = 1 << 20

Positive = Annotated[int, msgspec.Meta(ge=1, le=256)]


class PolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Which tables are judged by which rule. The most specific `match` wins."""

    name: Name
    """Short name, unique in the file; `explain` and the log say which one decided."""

    match: Text
    """Table name with wildcards, as in `*`, `rec.*`, `rec.events` or `lake.rec.events`."""

    compaction: dict[str, Any]
    """`kind` names the rule (`universal`, `amplification` or one that an installed package adds);
    the other keys are that rule's own, with defaults that are safe in production."""

    snapshots: SnapshotsConfig | None = None
    """Expire old snapshots of these tables, and the files that only they hold; `{}` does it by the
    options of each table. Without it snapshots stay until somebody else expires them. Tags,
    branches, consumers and running tasks keep what they need."""

    tags: TagsConfig | None = None
    """Make automatic tags, and delete those whose retention has passed; `{}` does it by the
    options of each table."""

    partitions: PartitionsConfig | None = None
    """Drop partitions whose time has come; `{}` does it by the options of each table."""

    orphans: OrphansConfig | None = None
    """Delete files that nobody can reach, left by writers that died; `{}` does it once a day."""


class BudgetsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What all running tasks together may use."""

    concurrent: Positive = 2
    """Tasks at the same time. More than `executor.workers` is of no use. One of several is kept for
    tasks of seconds as long as there are tables whose readers wait for compactions: those that hide
    level 0, and those with the changelog producers `lookup` and `full-compaction`."""

    memory: Size = Size(2**30)
    """Decoded rows that all running rewrites may hold together, as `512MiB` or `1GiB`. Each task
    gets at most its share, memory ÷ concurrent. On top come, per worker, about 120MiB for Python
    and its libraries and up to 200MiB for the encoder and what the allocator keeps."""


class SchedulerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """When to look and how much to do at once."""

    scan_interval: ScanInterval = ScanInterval(Every(Duration(5)))
    """How often the tables are looked at, as `500ms`, `5s` or `2m`; or `{cron: "*/5 * * * *"}`,
    five fields in UTC, as crontab reads them. A look at an unchanged table costs one small request,
    three more at every eighth look. Looks take one interval at the most: where that is too short
    for all tables, the next tick goes on where the last one ended."""

    discover_interval: Duration = Duration(60)
    """How often warehouses are listed for tables that are new or gone. A known table that is gone
    is noticed by its own looks, too."""

    idle_interval: Duration | None = None
    """Tables without a new snapshot for an hour are looked at only so often, each at another time
    within the last half of it. Absent: as often as all others."""

    expire_interval: Duration = Duration(60)
    """How long a table is left alone between two expiries, where its policy has `snapshots`. An
    expiry that ended only at the table's `snapshot.expire.limit` is followed by the next at
    once."""

    budgets: BudgetsConfig = BudgetsConfig()
    """What all running tasks together may use."""


class ExecutorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Where rewrites run."""

    kind: Literal["local"] = "local"
    """`local`: worker processes on the daemon's machine."""

    workers: Positive = 2
    """Worker processes. The processor cores are divided among them."""


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The HTTP server for `/metrics`, `/healthz`, `/readyz` and `/tasks`."""

    listen: Annotated[
        str, msgspec.Meta(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]*):[0-9]{1,5}$")
    ] = "127.0.0.1:9464"
    """`host:port`; an empty host means all addresses, port 0 any free port. It has no access
    control: listen where only your Prometheus can reach it."""


class LogsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The log, on stderr."""

    format: Literal["json", "console"] = "json"
    """`json`: one object per line; `console`: for eyes."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important line that is written. `info` has one line per tick that found work and
    one per task; `warning` means somebody may have to act, `error` that somebody must."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The whole file."""

    catalogs: tuple[CatalogConfig, ...]
    """The warehouses whose tables are kept; at least one."""

    policies: tuple[PolicyConfig, ...]
    """Which tables are judged by which rule; at least one. A table that no policy matches is left
    alone."""

    scheduler: SchedulerConfig = SchedulerConfig()
    """When to look and how much to do at once."""

    executor: ExecutorConfig = ExecutorConfig()
    """Where rewrites run."""

    state: Annotated[str, msgspec.Meta(pattern=r"^sqlite:///.+")] = "sqlite:///desilt-state.db"
    """The journal, as `sqlite:///relative/path` or `sqlite:////absolute/path`. Losing it loses
    history, never data. One daemon per file."""

    server: ServerConfig = ServerConfig()
    """The HTTP server for `/metrics`, `/healthz`, `/readyz` and `/tasks`."""

    verify: Literal["quarter", "full"] = "quarter"
    """What is compared before a rewrite is committed, besides keys, kinds and winners: the values
    of a quarter of the columns, another one each time, or of all."""

    logs: LogsConfig = LogsConfig()
    """The log, on stderr."""

    @property
    def state_path(self) -> Path:
        """Path of the journal."""
        return Path(self.state.removeprefix("sqlite:///"))


def load(path: str | Path) -> Config:
    """The checked configuration in the file at ``path``.

    Raises:
        ConfigError: unreadable, no YAML, or a key that is missing, unknown or wrong; it is named.
    """
    return _Decoder(os.fspath(path)).config(_read(os.fspath(path)))


def effective(config: Config) -> dict[str, object]:
    """The configuration with every default filled in, as plain data that `load` would read."""
    registry = load_registry()
    filled = tuple(
        msgspec.structs.replace(
            policy, compaction=msgspec.to_builtins(registry.config_from(policy.compaction))
        )
        for policy in config.policies
    )
    whole = msgspec.structs.replace(config, policies=filled)
    return cast(
        "dict[str, object]", msgspec.json.decode(msgspec.json.encode(whole, enc_hook=_encode))
    )


def _read(file: str) -> object:
    try:
        with open(file, "rb") as stream:
            raw = stream.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(file, "", f"cannot be read: {error.strerror or error}") from error
    if len(raw) > CONFIG_BYTES_MAX:
        raise ConfigError(file, "", f"larger than {CONFIG_BYTES_MAX} bytes")
    try:
        return yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(file, "", f"no YAML: {_one_line(error)}") from error
    except ValueError as error:  # a date that is none, for example
        raise ConfigError(file, "", f"no YAML: {_one_line(error)}") from error


_T = TypeVar("_T")


class _Decoder:
    """Plain data → `Config`; list entries are decoded one by one so that errors can number them."""

    def __init__(self, file: str) -> None:
        self._file = file

    def config(self, data: object) -> Config:
        if data is None:
            raise ConfigError(self._file, "", "empty")
        if not isinstance(data, Mapping):
            raise ConfigError(self._file, "", "expected keys and values at the top")
        fields = dict(cast("Mapping[str, object]", data))
        for key, kind in (("catalogs", CatalogConfig), ("policies", PolicyConfig)):
            fields[key] = self._entries(fields.get(key), key, kind)
        config = self._convert(fields, Config, "")
        self._check(config)
        return config

    def _entries(self, data: object, key: str, kind: type[msgspec.Struct]) -> tuple[object, ...]:
        if data is None:
            raise ConfigError(self._file, key, "missing")
        if not isinstance(data, list):
            raise ConfigError(self._file, key, "expected a list")
        entries = cast("list[object]", data)
        if not entries:
            raise ConfigError(self._file, key, "needs at least one entry")
        # Decoded for its errors; the whole is decoded once more from the same plain data.
        for index, entry in enumerate(entries):
            self._convert(entry, kind, f"{key}[{index}]")
        return tuple(entries)

    def _convert(self, data: object, kind: type[_T], key: str) -> _T:
        try:
            return msgspec.convert(data, kind, dec_hook=_decode)
        except msgspec.ValidationError as error:
            problem, inner = _split_path(str(error))
            raise ConfigError(self._file, ".".join(filter(None, (key, inner))), problem) from error

    def _check(self, config: Config) -> None:
        """The rules that span fields."""
        self._unique("catalogs", [catalog.name for catalog in config.catalogs])
        self._unique("policies", [policy.name for policy in config.policies])
        for index, catalog in enumerate(config.catalogs):
            self._check_catalog(f"catalogs[{index}]", catalog)
        for index, policy in enumerate(config.policies):
            self._check_policy(f"policies[{index}]", policy)
        port = int(config.server.listen.rpartition(":")[2])
        if port > 65535:
            raise ConfigError(self._file, "server.listen", f"no such port: {port}")

    def _unique(self, key: str, names: list[str]) -> None:
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ConfigError(self._file, f"{key}[{index}].name", f"used twice: {name!r}")

    def _check_catalog(self, key: str, catalog: CatalogConfig) -> None:
        if catalog.kind not in KINDS:
            known = f"expected one of {', '.join(KINDS)}"
            raise ConfigError(self._file, f"{key}.kind", REFUSED_KINDS.get(catalog.kind, known))
        if (catalog.kind == "filesystem") != (catalog.uri is None):
            problem = "missing" if catalog.uri is None else f"not of a {catalog.kind} catalog"
            raise ConfigError(self._file, f"{key}.uri", problem)
        for one, other in (("password-env", "password-file"), ("token-env", "token-file")):
            given = [getattr(catalog, name.replace("-", "_")) for name in (one, other)]
            if None not in given:
                raise ConfigError(self._file, f"{key}.{other}", f"{one} is given, too")

    def _check_policy(self, key: str, policy: PolicyConfig) -> None:
        try:
            check_pattern(policy.match)
        except PolicyConfigError as error:
            raise ConfigError(self._file, f"{key}.{error.key}", error.problem) from error
        bounds = policy.snapshots or SnapshotsConfig()
        if bounds.retain_max is not None and (bounds.retain_min or 0) > bounds.retain_max:
            raise ConfigError(self._file, f"{key}.snapshots.retain-min", "more than retain-max")
        problem = problem_of(policy.orphans)
        if problem is not None:
            raise ConfigError(self._file, f"{key}.orphans.older-than", problem)
        try:
            policy_from_config(policy.compaction)
        except PolicyConfigError as error:
            inner = ".".join(filter(None, (key, "compaction", error.key)))
            raise ConfigError(self._file, inner, error.problem) from error
        except PolicyError as error:  # an installed plug-in that cannot be loaded or made
            raise ConfigError(self._file, f"{key}.compaction.kind", str(error)) from error


def _decode(kind: type, value: object) -> object:
    if kind is Size:
        return parse_size(value)
    if kind is Duration:
        return parse_duration(value)
    if kind is ScanInterval:
        return _decode_interval(value)
    raise NotImplementedError(kind)


def _decode_interval(value: object) -> ScanInterval:
    if not isinstance(value, Mapping):
        return ScanInterval(Every(parse_duration(value)))
    fields = cast("Mapping[object, object]", value)
    cron = fields.get("cron")
    if set(fields) != {"cron"} or not isinstance(cron, str):
        raise ValueError('expected a duration like 5s, or {cron: "*/5 * * * *"}')
    return ScanInterval(Cron(cron))


def _encode(value: object) -> object:
    match value:
        case Size() | Duration():
            return str(value)
        case ScanInterval(when=Cron(expression)):
            return {"cron": expression}
        case ScanInterval(when=Every(seconds)):
            return str(seconds)
        case _:
            raise NotImplementedError(type(value))


def _split_path(message: str) -> tuple[str, str]:
    """msgspec's message as (problem, key); it has the key as ``$.a.b`` at the end.

    A field that is unknown or missing belongs to the key: ``scheduler.cron: unknown key``.
    """
    problem, _, path = message.partition(" - at `$")
    key = path.rstrip("`").removeprefix(".")
    field = re.fullmatch(r"Object (contains unknown|missing required) field `(.*)`", problem, re.S)
    if field is not None:
        key = ".".join(filter(None, (key, field[2])))
        return ("unknown key" if "unknown" in field[1] else "missing"), key
    return problem[:1].lower() + problem[1:].replace("`", "'"), key


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
