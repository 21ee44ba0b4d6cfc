"""Rows, hashes and buckets are, byte for byte, those of Paimon's Java library."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from decimal import Decimal

import polars as pl
import pytest
from support.canonical import EpochTime, Json, encode_rows
from support.peers import Peer

from desilt.table.bucket import bucket_numbers, row_hashes
from desilt.table.datatypes import DataType, Root, parse_type
from desilt.table.row import Instant, Row, encode_row, row_from_frame, series_from_values

SEED = 20261122
ROWS = 40
TYPE_TEXTS = [
    "BOOLEAN", "TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE", "DATE", "TIME(3)",
    "CHAR(20)", "STRING", "BYTES", "DECIMAL(9, 2)", "DECIMAL(18, 18)", "DECIMAL(19, 0)",
    "DECIMAL(38, 10)", "TIMESTAMP(0)", "TIMESTAMP(3)", "TIMESTAMP(6)", "TIMESTAMP(9)",
    "TIMESTAMP(3) WITH LOCAL TIME ZONE", "TIMESTAMP(6) WITH LOCAL TIME ZONE",
]  # fmt: skip
LETTERS = string.ascii_letters + "éß\ud7ff\uffff\U0001f600"
BITS = {Root.TINYINT: 8, Root.SMALLINT: 16, Root.INT: 32, Root.BIGINT: 64}
DOUBLES = [0.0, -0.0, 1.5, -1e300, 5e-324, float("nan"), float("inf"), float("-inf")]
FLOATS = [0.0, -0.0, 1.5, -(2.0**100), 2.0**-149, float("nan"), float("inf"), float("-inf")]


def a_value(rng: random.Random, data_type: DataType) -> object:
    """A value of the type, small and large ones alike; null in one of six."""
    root = data_type.root
    if rng.randrange(6) == 0:
        return None
    if root in BITS:
        return rng.getrandbits(rng.randrange(BITS[root])) * rng.choice([1, -1])
    if root is Root.DECIMAL:
        digits = rng.randrange(10 ** rng.randint(1, data_type.precision))
        unscaled = rng.choice([digits, -digits, *edges_of_bytes(rng, data_type)])
        return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -data_type.scale))
    if root in (Root.TIMESTAMP, Root.TIMESTAMP_LTZ):
        return an_instant(rng, data_type.precision)
    if root in (Root.CHAR, Root.VARCHAR):
        return "".join(rng.choices(LETTERS, k=rng.randrange(20)))
    if root is Root.VARBINARY:
        return rng.randbytes(rng.randrange(20))
    simple = {
        Root.BOOLEAN: rng.random() < 0.5,
        Root.FLOAT: rng.choice([*FLOATS, rng.randrange(-(2**20), 2**20) / 64]),
        Root.DOUBLE: rng.choice([*DOUBLES, rng.uniform(-1e20, 1e20)]),
        Root.DATE: rng.randrange(-700_000, 2_900_000),
        Root.TIME: rng.randrange(86_400_000),
    }
    return simple[root]


def edges_of_bytes(rng: random.Random, data_type: DataType) -> list[int]:
    """Numbers at which the shortest two's complement gets a byte more."""
    edge = 1 << (8 * rng.randint(1, 15) - 1)
    return [n for n in (edge, edge - 1, -edge, -edge - 1) if abs(n) < 10**data_type.precision]


def an_instant(rng: random.Random, precision: int) -> Instant:
    millis = rng.randrange(-9_000_000_000_000, 9_000_000_000_000)
    step = 10 ** max(0, 9 - precision)
    return Instant(millis, rng.randrange(1_000_000) // step * step if precision > 3 else 0)


def wire(types: Sequence[DataType], rows: Sequence[Row]) -> list[list[Json]]:
    plain = [[EpochTime(*v) if isinstance(v, Instant) else v for v in row] for row in rows]
    return encode_rows([str(data_type) for data_type in types], plain)


def frame_of(types: Sequence[DataType], rows: Sequence[Row]) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True))
    return pl.DataFrame([series_from_values(f"c{i}", columns[i], t) for i, t in enumerate(types)])


def random_shapes() -> list[list[str]]:
    """Each type alone, some mixtures, and rows with the wider headers."""
    rng = random.Random(SEED)
    mixtures = [rng.choices(TYPE_TEXTS, k=rng.randint(2, 6)) for _ in range(8)]
    wide = [rng.choices(TYPE_TEXTS, k=width) for width in (56, 57, 130)]
    return [*([text] for text in TYPE_TEXTS), *mixtures, *wide]


def shape_name(texts: list[str]) -> str:
    return ",".join(texts) if len(texts) < 4 else f"{len(texts)} fields"


@pytest.mark.parametrize("texts", random_shapes(), ids=shape_name)
def test_rows_hash_and_land_as_javas(texts: list[str], java: Peer) -> None:
    seed = f"{SEED} {shape_name(texts)}"
    print(f"{seed=}")
    rng = random.Random(seed)
    types = [parse_type(text) for text in texts]
    rows: list[Row] = [tuple(a_value(rng, t) for t in types) for _ in range(ROWS)]
    frame = frame_of(types, rows)
    sent = wire(types, rows)
    buckets = rng.choice([1, 2, 7, 128])

    answers = java.binary_row([str(t) for t in types], sent)
    ours = [encode_row(row, types).hex() for row in rows]

    assert [answer["key_hex"] for answer in answers] == ours
    assert [answer["hex"] for answer in answers] == ours
    assert [
        encode_row(row_from_frame(frame, i, frame.columns, types), types).hex() for i in range(ROWS)
    ] == ours
    assert row_hashes(frame, frame.columns, types).to_list() == [a["hash"] for a in answers]
    assert bucket_numbers(frame, frame.columns, types, buckets).to_list() == java.bucket(
        [str(t) for t in types], sent, buckets
    )


def test_oldest_java_reserves_space_for_nulls_in_keys_only(java09: Peer) -> None:
    types = [parse_type(text) for text in ("DECIMAL(20, 4)", "TIMESTAMP(6)", "STRING")]
    rows: list[Row] = [
        (None, None, "12345678"),
        (Decimal("1.5"), None, None),
        (None, Instant(1), ""),
    ]

    answers = java09.binary_row([str(t) for t in types], wire(types, rows))

    assert [answer["key_hex"] for answer in answers] == [encode_row(r, types).hex() for r in rows]
    assert [answer["hex"] for answer in answers] == [
        encode_row(row, types, key_layout=False).hex() for row in rows
    ]
