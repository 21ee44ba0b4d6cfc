"""Bad input of table/: a named error that says where, nothing changed, other tables go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.builders import catalog

from desilt.table.errors import InvalidRequest


def test_missing_warehouse_is_an_invalid_request(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="warehouse does not exist"):
        catalog(tmp_path / "none").tables()
