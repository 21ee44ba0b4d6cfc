from __future__ import annotations

import math
from decimal import Decimal

import pytest

from desilt.table.datatypes import parse_type
from desilt.table.errors import UnsupportedFeature
from desilt.table.partition import escape, java_float_text, partition_label, partition_path
from desilt.table.row import Instant

NEW_YEAR_MILLIS = 1704067200000


@pytest.mark.parametrize(
    ("type_text", "value", "expected"),
    [
        ("STRING", "a", "a"),
        ("STRING", "a/b=c:d", "a%2Fb%3Dc%3Ad"),
        ("STRING", "x y é & < > | ~ + @ ! $ ( ) ,", "x y é & < > | ~ + @ ! $ ( ) ,"),
        ("STRING", None, "__DEFAULT_PARTITION__"),
        ("STRING", "", "__DEFAULT_PARTITION__"),
        ("STRING", " \t\u2003", "__DEFAULT_PARTITION__"),
        ("STRING", "\u00a0", "\u00a0"),
        ("INT", -7, "-7"),
        ("TINYINT", 0, "0"),
        ("BOOLEAN", True, "true"),
        ("BOOLEAN", False, "false"),
        ("DATE", 19857, "19857"),
        ("TIME(3)", 3_600_001, "3600001"),
        ("TIMESTAMP(3)", Instant(NEW_YEAR_MILLIS + 123), "2024-01-01T00%3A00%3A00.123"),
        ("TIMESTAMP(6)", Instant(NEW_YEAR_MILLIS), "2024-01-01T00%3A00"),
        ("TIMESTAMP(6)", Instant(NEW_YEAR_MILLIS + 5000), "2024-01-01T00%3A00%3A05"),
        ("TIMESTAMP(6)", Instant(NEW_YEAR_MILLIS, 1000), "2024-01-01T00%3A00%3A00.000001"),
        ("TIMESTAMP(9)", Instant(-1, 999_999), "1969-12-31T23%3A59%3A59.999999999"),
        ("TIMESTAMP(3)", Instant(253402300800000), "+10000-01-01T00%3A00"),
        ("TIMESTAMP_LTZ(3)", Instant(NEW_YEAR_MILLIS), "2024-01-01T00%3A00"),
        ("DECIMAL(10, 2)", Decimal("-3.50"), "-3.50"),
        ("DECIMAL(38, 30)", Decimal("1E-30"), "0." + "0" * 29 + "1"),
        ("DOUBLE", 1e10, "1.0E10"),
        ("FLOAT", -0.0, "-0.0"),
        ("FLOAT", math.nan, "NaN"),
    ],
)
def test_path_of_a_value_is_the_text_java_writes(
    type_text: str, value: object, expected: str
) -> None:
    assert partition_path((value,), ["dt"], [parse_type(type_text)]) == f"dt={expected}"


@pytest.mark.parametrize(
    ("type_text", "value", "expected"),
    [
        ("DATE", 19857, "2024-05-14"),
        ("DATE", -1, "1969-12-31"),
        ("TIMESTAMP(6)", Instant(NEW_YEAR_MILLIS), "2024-01-01 00%3A00%3A00.000000"),
        ("TIMESTAMP(0)", Instant(NEW_YEAR_MILLIS), "2024-01-01 00%3A00%3A00"),
        ("TIMESTAMP(3)", Instant(NEW_YEAR_MILLIS + 120), "2024-01-01 00%3A00%3A00.120"),
        ("TIME(0)", 3_600_001, "01%3A00%3A00"),
        ("TIME(3)", 3_600_120, "01%3A00%3A00.12"),
        ("TIME(3)", 3_600_000, "01%3A00%3A00.0"),
        ("TIME(2)", 3_600_005, "01%3A00%3A00.00"),
        ("STRING", "", "none"),
        ("BOOLEAN", True, "true"),
        ("DECIMAL(10, 2)", Decimal("-3.50"), "-3.50"),
        ("FLOAT", 1e7, "1.0E7"),
    ],
)
def test_path_without_legacy_names_is_the_cast_to_text(
    type_text: str, value: object, expected: str
) -> None:
    types = [parse_type(type_text)]

    assert partition_path((value,), ["dt"], types, default_name="none", legacy=False) == (
        f"dt={expected}"
    )


@pytest.mark.parametrize(
    ("type_text", "value", "legacy"),
    [
        ("BYTES", b"a", True),
        ("BYTES", b"a", False),
        ("TIMESTAMP_LTZ(3)", Instant(0), False),
        ("FLOAT", 612220032.0, True),
        ("DOUBLE", -5.902872113232237e16, False),
    ],
)
def test_value_without_a_stable_text_is_unsupported(
    type_text: str, value: object, legacy: bool
) -> None:
    with pytest.raises(UnsupportedFeature, match="no stable text"):
        partition_path((value,), ["p"], [parse_type(type_text)], legacy=legacy)


def test_path_joins_keys_in_order_and_escapes_them() -> None:
    types = [parse_type("STRING"), parse_type("INT")]

    assert partition_path(("a", 1), ["d:t", "hr"], types) == "d%3At=a/hr=1"
    assert partition_label(("a", 1), ["dt", "hr"], types) == "dt=a/hr=1"


def test_path_of_an_unpartitioned_table_is_empty() -> None:
    assert partition_path((), [], []) == ""
    assert partition_label((), [], []) == ""


def test_escape_covers_exactly_what_java_escapes() -> None:
    escaped = {c for c in map(chr, range(256)) if escape(c) != c}

    assert escaped == set(map(chr, range(32))) | set("\x7f\"#%'*/:=?\\{}[]^")
    assert escape("\n\x7f") == "%0A%7F"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (100.0, "100.0"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (12345678.9, "1.23456789E7"),
        (0.001, "0.001"),
        (0.00123, "0.00123"),
        (0.0001, "1.0E-4"),
        (1e-5, "1.0E-5"),
        (123.456, "123.456"),
        (-1.5e300, "-1.5E300"),
        (5e-324, "4.9E-324"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
    ],
)
def test_double_text_is_javas(number: float, expected: str) -> None:
    assert java_float_text(number, single=False) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.10000000149011612, "0.1"),
        (1.100000023841858, "1.1"),
        (16777216.0, "1.6777216E7"),
        (3.4028234663852886e38, "3.4028235E38"),
        (1.401298464324817e-45, "1.4E-45"),
        (1e10, "1.0E10"),
    ],
)
def test_float_text_is_javas(number: float, expected: str) -> None:
    assert java_float_text(number, single=True) == expected
