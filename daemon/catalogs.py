"""From a catalog's section of the YAML, or the flags of a command, to the catalog itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..table import catalogs
from ..table.catalogs import BaseCatalog, CatalogOptions
from ..table.storage import StoreOptions, normal_path
from .config import load
from .config_catalog import CatalogConfig, S3Config
from .errors import UsageError


def open_catalog(config: CatalogConfig) -> BaseCatalog:
    """The catalog of this section; secrets are read now.

    Raises:
        TableError: as the catalog's kind has it.
        UsageError: a secret is not where the section says.
    """
    options = CatalogOptions(
        kind=config.kind,
        warehouse=config.warehouse,
        uri=config.uri or "",
        key=config.key,
        user=config.user,
        password=secret(config.password_env, config.password_file),
        token=secret(config.token_env, config.token_file),
        data_roots=config.data_roots,
        lock_acquire_timeout=float(config.lock_timeout),
        lock_time_zone=config.lock_time_zone,
        store=store_options(config.s3),
    )
    return catalogs.open_catalog(options)


def store_options(s3: S3Config) -> StoreOptions:
    """The section as the store takes it."""
    return StoreOptions(
        endpoint=s3.endpoint,
        region=s3.region,
        path_style=s3.path_style,
        profile=s3.profile,
        attempts=s3.attempts,
        connect_seconds=float(s3.connect_timeout),
        read_seconds=float(s3.read_timeout),
        in_flight=s3.in_flight,
        scratch=s3.scratch,
    )


def chosen(warehouse: str | None, config: Path | None, name: str | None) -> CatalogConfig:
    """The catalog that a command's flags mean: a warehouse alone, or one of a configuration.

    Raises:
        UsageError: neither, both, or none of that name.
        ConfigError: the file is wrong.
    """
    if config is None:
        if warehouse is None or name is not None:
            raise UsageError("give --warehouse, or --config with --catalog")
        return CatalogConfig(name="warehouse", warehouse=warehouse)
    catalogs = load(config).catalogs
    if warehouse is not None:
        here = normal_path(warehouse)
        found = [c for c in catalogs if c.kind != "rest" and normal_path(c.warehouse) == here]
        return found[0] if found else CatalogConfig(name="warehouse", warehouse=warehouse)
    if name is None and len(catalogs) == 1:
        return catalogs[0]
    for catalog in catalogs:
        if catalog.name == name:
            return catalog
    known = ", ".join(catalog.name for catalog in catalogs)
    raise UsageError(f"--catalog: expected one of {known}")


@dataclass(frozen=True, slots=True)
class Where:
    """A command's flags that choose a catalog, as they were given."""

    warehouse: str | None
    config: Path | None
    catalog: str | None

    def open(self) -> BaseCatalog:
        """The catalog; raises as `chosen` and `open_catalog`."""
        return open_catalog(chosen(self.warehouse, self.config, self.catalog))


def secret(variable: str | None, file: str | None) -> str | None:
    """What the environment variable or the file holds; None where neither is named.

    Raises:
        UsageError: it is not there.
    """
    if variable is not None:
        found = os.environ.get(variable, "").strip()
        if not found:
            raise UsageError(f"the environment variable {variable} is empty or not set")
        return found
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the file {file} cannot be read: {error}") from error
