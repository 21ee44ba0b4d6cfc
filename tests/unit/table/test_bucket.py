from __future__ import annotations

import struct
from decimal import Decimal

import polars as pl
import pytest
from support.murmur import murmur_of_row

from desilt.table.bucket import bucket_numbers, encode_partitions, row_hashes
from desilt.table.datatypes import DataType, parse_type
from desilt.table.row import Instant, encode_row, series_from_values


def frame_of(types: tuple[str, ...], *rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            series_from_values(f"c{index}", [row[index] for row in rows], parse_type(text))
            for index, text in enumerate(types)
        ]
    )


def parsed(types: tuple[str, ...]) -> list[DataType]:
    return [parse_type(text) for text in types]


@pytest.mark.parametrize(
    ("types", "values", "expected"),
    [
        (("INT",), (5,), 260196596),
        (("INT",), (None,), -1748325344),
        (("STRING",), ("a",), 943281246),
        (("STRING",), ("12345678",), -391021801),
        (("INT", "STRING", "BIGINT"), (1, "longer-than-7", None), -1343230823),
        (("DECIMAL(20, 4)",), (None,), -1380280760),
        (("TIMESTAMP(6)",), (None,), -340882661),
    ],
)
def test_hash_is_javas(types: tuple[str, ...], values: tuple[object, ...], expected: int) -> None:
    frame = frame_of(types, values)

    assert row_hashes(frame, frame.columns, parsed(types)).to_list() == [expected]


@pytest.mark.parametrize(("values", "expected"), [((5,), 96), ((5, 6), 27), ((5, 6, 7), 40)])
def test_bucket_is_javas(values: tuple[int, ...], expected: int) -> None:
    types = ("INT",) * len(values)
    frame = frame_of(types, values)

    numbers = bucket_numbers(frame, frame.columns, parsed(types), 100)

    assert numbers.dtype == pl.Int32
    assert numbers.to_list() == [expected]


def test_negative_hash_falls_into_the_bucket_of_its_absolute_remainder() -> None:
    frame = frame_of(("INT",), (None,))

    assert bucket_numbers(frame, ["c0"], parsed(("INT",)), 7).to_list() == [1748325344 % 7]


def test_hash_words_of_index_files_match() -> None:
    # The words a hash index of the INT keys 1 to 4 holds.
    frame = frame_of(("INT",), (1,), (2,), (3,), (4,))

    hashes = row_hashes(frame, ["c0"], parsed(("INT",))).to_list()

    assert struct.pack(">4i", *hashes).hex() == "5759f99e4fe4bbf0d206e547564770ca"


MANY = [
    pytest.param("BOOLEAN", [True, False, None], id="boolean"),
    pytest.param("TINYINT", [-1, 0, 127, None], id="tinyint"),
    pytest.param("SMALLINT", [-1, 300, None], id="smallint"),
    pytest.param("INT", [-1, 2**31 - 1, None], id="int"),
    pytest.param("BIGINT", [-1, -(2**63), None], id="bigint"),
    pytest.param("FLOAT", [-0.0, 0.0, float("nan"), None, 1.5], id="float"),
    pytest.param("DOUBLE", [-0.0, 0.0, float("nan"), None, 1e300], id="double"),
    pytest.param("DATE", [-1, 19857, None], id="date"),
    pytest.param("TIME(3)", [0, 86_399_999, None], id="time"),
    pytest.param("DECIMAL(18, 2)", [Decimal("-0.01"), Decimal(10), None], id="compact decimal"),
    pytest.param(
        "DECIMAL(38, 0)",
        [
            *(Decimal(s * 2**b + d) for b in range(0, 126, 7) for s in (1, -1) for d in (-1, 0)),
            None,
        ],
        id="wide decimal",
    ),
    pytest.param("TIMESTAMP(3)", [Instant(-1), Instant(5), None], id="compact timestamp"),
    pytest.param("TIMESTAMP(6)", [Instant(-1, 999_000), Instant(5), None], id="timestamp"),
    pytest.param("TIMESTAMP_LTZ(9)", [Instant(-1, 999_999), None], id="nanos"),
    pytest.param(
        "STRING", [None, *("é" * n for n in range(30)), *("x" * n for n in range(30))], id="text"
    ),
    pytest.param("BYTES", [*(b"\xff" * n for n in range(20)), None], id="bytes"),
]


@pytest.mark.parametrize(("type_text", "values"), MANY)
def test_hash_equals_the_hash_of_the_encoded_row(type_text: str, values: list[object]) -> None:
    types = (type_text, "INT")
    rows = [(value, index) for index, value in enumerate(values)]
    frame = frame_of(types, *rows)

    hashes = row_hashes(frame, frame.columns, parsed(types)).to_list()

    assert hashes == [murmur_of_row(encode_row(row, parsed(types))[4:]) for row in rows]


def test_hash_of_many_columns_uses_the_wider_header() -> None:
    types = ("INT", "STRING") * 30
    row = tuple(None if i % 7 == 0 else i if i % 2 == 0 else "x" * i for i in range(60))
    frame = frame_of(types, row)

    hashes = row_hashes(frame, frame.columns, parsed(types)).to_list()

    assert hashes == [murmur_of_row(encode_row(row, parsed(types))[4:])]


def test_sliced_and_chunked_columns_hash_alike() -> None:
    types = ("STRING", "DECIMAL(30, 2)")
    rows = [("text number " + "y" * i, Decimal(i)) for i in range(9)]
    frame = frame_of(types, *rows)
    chunked = pl.concat([frame[:4], frame[4:]], rechunk=False)[3:8]

    hashes = row_hashes(chunked, frame.columns, parsed(types)).to_list()

    assert hashes == row_hashes(frame, frame.columns, parsed(types)).to_list()[3:8]


def test_text_under_a_null_is_not_hashed() -> None:
    masked = pl.select(
        c0=pl.when(pl.Series([True, False])).then(pl.Series(["a text of some length"] * 2))
    )

    hashes = row_hashes(masked, ["c0"], parsed(("STRING",))).to_list()

    assert hashes[1] == murmur_of_row(encode_row((None,), parsed(("STRING",)))[4:])


def test_columns_in_other_units_are_hashed_as_of_the_type() -> None:
    nanos = series_from_values("c0", [Instant(-1, 999_999)], parse_type("TIMESTAMP(9)")).to_frame()
    wide = pl.DataFrame({"c0": [7]}, schema={"c0": pl.Int64()})

    assert row_hashes(nanos, ["c0"], parsed(("TIMESTAMP(3)",))).to_list() == [
        murmur_of_row(encode_row((Instant(-1),), parsed(("TIMESTAMP(3)",)))[4:])
    ]
    assert row_hashes(wide, ["c0"], parsed(("INT",))).to_list() == [
        murmur_of_row(encode_row((7,), parsed(("INT",)))[4:])
    ]


def test_empty_frame_has_no_hashes() -> None:
    types = ("STRING", "DECIMAL(30, 2)", "TIMESTAMP(6)", "INT")
    frame = frame_of(types)

    assert bucket_numbers(frame, frame.columns, parsed(types), 4).to_list() == []
    assert encode_partitions(frame, frame.columns, parsed(types)).to_list() == []


def test_bucket_count_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="no bucket count"):
        bucket_numbers(frame_of(("INT",), (1,)), ["c0"], parsed(("INT",)), 0)


def test_partitions_keep_apart_what_their_bytes_keep_apart() -> None:
    types = ("DOUBLE", "STRING")
    rows: list[tuple[object, ...]] = [
        (0.0, ""), (-0.0, ""), (None, None), (None, ""), (float("nan"), "p"), (-0.0, ""), (0.0, ""),
    ]  # fmt: skip
    frame = frame_of(types, *rows)

    encoded = encode_partitions(frame, frame.columns, parsed(types)).to_list()

    assert encoded == [encode_row(row, parsed(types)) for row in rows]
    assert len(set(encoded)) == 5


def test_partition_of_no_columns_is_the_empty_row() -> None:
    frame = frame_of(("INT",), (1,), (2,))

    assert encode_partitions(frame, [], []).to_list() == [bytes(12)] * 2
