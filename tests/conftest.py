"""Fixtures shared by all tests; peers are session-scoped processes."""

from __future__ import annotations

pytest_plugins = ["support.peer_fixtures", "support.server_fixtures"]
