"""The section `catalogs` of the YAML as types: where tables are, and how their store is spoken to.

Secrets are never in the file: it names an environment variable or a file that holds them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ..table.storage.options import IN_FLIGHT
from .units import Duration

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
Text = Annotated[str, msgspec.Meta(min_length=1)]

KINDS = ("filesystem", "jdbc", "rest")
REFUSED_KINDS = {
    "hive": "Hive metastores are not supported; a table that one knows can be kept by a"
    " filesystem catalog on its warehouse if no writer takes the metastore's lock",
}


class S3Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """How an object store is spoken to. What is absent comes from the environment, as every AWS
    client finds it: variables, `AWS_PROFILE`, a web identity (`AWS_ROLE_ARN` and
    `AWS_WEB_IDENTITY_TOKEN_FILE`, as Kubernetes sets them), the machine's role."""

    endpoint: Text | None = None
    """URL of a store that is not AWS's, as `https://minio.example:9000`."""

    region: Text | None = None
    """Region of the bucket; `us-east-1` where the environment names none either."""

    path_style: bool | None = None
    """Whether the bucket is in the path of a URL and not in its host name. Absent: yes with an
    `endpoint`, no without."""

    profile: Text | None = None
    """Profile of the shared configuration and credentials files."""

    attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 8
    """How often one request is tried, with pauses that grow to 5 seconds. Throttling, errors of
    the store and broken connections are worth another try, refusals are not."""

    connect_timeout: Duration = Duration(5)
    """How long a connection may take."""

    read_timeout: Duration = Duration(30)
    """How long the store may be silent."""

    in_flight: Annotated[int, msgspec.Meta(ge=1, le=1024)] = IN_FLIGHT
    """Requests at a time, of the daemon and of each worker."""

    scratch: Text | None = None
    """Folder for the parts of files that are being read; absent: the system's for temporary files.
    A worker holds at most what it reads at a time, some hundred MiB, of each of the input files."""


class CatalogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """One warehouse whose tables the daemon keeps."""

    name: Name
    """Short name, unique in the file. With several catalogs, logs and metrics call their tables
    `catalog.db.table`; with one, `db.table`."""

    warehouse: Text
    """Path, `file://` or `s3://bucket/prefix` URI of the directory that holds
    `<database>.db/<table>`. A relative path starts at the working directory of the daemon. Of a
    REST catalog: the warehouse's name at its server."""

    kind: Text = "filesystem"
    """`filesystem`: what is below the warehouse. `jdbc`: Paimon's catalog in a database, whose
    lock is held whenever a snapshot is published. `rest`: a server of Paimon's REST catalog, which
    publishes. `hive` is refused."""

    uri: Text | None = None
    """`jdbc`: the database, as `postgresql://host:5432/db`, `sqlite:////absolute/path` or the same
    as Paimon writes it, `jdbc:postgresql://…`; `rest`: the server's URL."""

    key: Text = "jdbc"
    """`jdbc`: Paimon's `catalog-key`; several catalogs may share a database."""

    user: Text | None = None
    """`jdbc`: who logs in."""

    password_env: Text | None = None
    """`jdbc`: environment variable that holds the password."""

    password_file: Text | None = None
    """`jdbc`: file that holds the password; read whenever the catalog is opened."""

    token_env: Text | None = None
    """`rest`: environment variable that holds the bearer token."""

    token_file: Text | None = None
    """`rest`: file that holds the bearer token."""

    lock_timeout: Duration = Duration(480)
    """`jdbc`: how long to wait for the lock, and after which time that of a dead holder is free;
    as Paimon's `lock-acquire-timeout`, and the same for all who use the catalog."""

    lock_time_zone: Text = "UTC"
    """`jdbc` on PostgreSQL: the time zone of the other writers' machines, such as `Europe/Berlin`:
    Paimon keeps the lock's time without one."""

    data_roots: tuple[str, ...] = ()
    """`rest`: tables must lie below one of these places; needed for tables on local paths."""

    s3: S3Config = S3Config()
    """How an object store is spoken to."""
