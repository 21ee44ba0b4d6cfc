"""Where a store is and how it is spoken to: plain data, so that workers can open it, too."""

from __future__ import annotations

from dataclasses import dataclass, field

IN_FLIGHT = 80
"""Requests at a time: at 30 ms each some 2,700 a second; a prefix of S3 takes 3,500 PUTs and 5,500
GETs. More than the 64 that hide the latency: some are always just being dealt with."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """An object store. What is None comes from the environment, as every AWS client finds it.

    ``endpoint``: URL of a store that is not AWS's; ``path_style``: bucket in the path, not in the
    host name (None: yes where there is an endpoint). ``profile``: of the shared configuration
    files. ``access_key``, ``secret_key``, ``session_token``: only where a catalog hands them out;
    they are never printed. ``attempts``: of one request; ``pause_seconds``: at most, behind the
    first; it doubles with each, up to a hundred times as long. ``scratch``: local folder for the
    parts of files that are being read.
    """

    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    profile: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    attempts: int = 8
    pause_seconds: float = 0.05
    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    in_flight: int = IN_FLIGHT
    scratch: str | None = None
