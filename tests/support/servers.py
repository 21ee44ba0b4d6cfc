"""The real servers of the tests; `support.server_fixtures` has them as fixtures."""

from __future__ import annotations

from .postgres import Postgres, postgres
from .rgw import Rgw, S3User, http_status, rgw, s3_client
from .server_process import ServerError, ServersNotSetUp

__all__ = [
    "Postgres",
    "Rgw",
    "S3User",
    "ServerError",
    "ServersNotSetUp",
    "http_status",
    "postgres",
    "rgw",
    "s3_client",
]
