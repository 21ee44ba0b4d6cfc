"""The encoding that the peers speak, where values are nested."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from support.canonical import Json, decode, encode, ordered, parse_type, type_json

NESTED: dict[str, tuple[Any, Json]] = {
    "ARRAY<DATE>": ([date(2026, 10, 1), None], ["2026-10-01", None]),
    "MAP<STRING, DECIMAL(5, 2)>": (
        [("a", Decimal("1.50")), ("b", None)], {"map": [["a", "1.50"], ["b", None]]},
    ),
    "MULTISET<INT>": ([(1, 2)], {"map": [[1, 2]]}),
    "ROW<`a b` BYTES, t ARRAY<TIMESTAMP(3)>>": (
        {"a b": b"\x01", "t": [datetime(1970, 1, 1, 0, 0, 1)]},  # noqa: DTZ001 such is the type
        {"row": ["01", [{"ms": 1000, "ns": 0}]]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", NESTED)
def test_nested_values_are_encoded_and_decoded(text: str) -> None:
    value, wire = NESTED[text]

    assert encode(text, value) == wire
    assert decode(text, wire) == value


def test_entries_of_maps_have_one_order_wherever_they_are() -> None:
    given: Json = [{"row": [{"map": [[2, {"map": [["b", 1], ["a", 2]]}], [1, None]]}]}]

    assert ordered(given) == [{"row": [{"map": [[1, None], [2, {"map": [["a", 2], ["b", 1]]}]]}]}]


def test_nested_types_are_read_with_their_parts() -> None:
    kind = parse_type("MAP<INT NOT NULL, ROW<`a``,<` DECIMAL(5, 2), b STRING> NOT NULL> NOT NULL")
    (_, key), (_, value) = kind.parts

    assert (kind.root, kind.nullable, key.root, key.nullable) == ("MAP", False, "INT", False)
    assert [(name, part.root, part.precision) for name, part in value.parts] == [
        ("a`,<", "DECIMAL", 5), ("b", "STRING", 0),
    ]  # fmt: skip


def test_nested_types_have_the_form_of_schema_files() -> None:
    assert type_json("INT NOT NULL") == "INT NOT NULL"
    assert type_json("ARRAY<MULTISET<ROW<a INT, b STRING>>> NOT NULL") == {
        "type": "ARRAY NOT NULL",
        "element": {
            "type": "MULTISET",
            "element": {
                "type": "ROW",
                "fields": [
                    {"id": 0, "name": "a", "type": "INT"},
                    {"id": 1, "name": "b", "type": "STRING"},
                ],
            },
        },
    }
