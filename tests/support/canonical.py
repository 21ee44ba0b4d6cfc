"""The canonical JSON encoding of column values that all peers speak, both ways.

Plain values are: bool, int, float, Decimal, str, bytes, datetime.date, datetime.time,
datetime.datetime, and None; an array is a list, a row a dict by its fields' names, a map (and a
multiset, which is a map to counts) a list of pairs. Two things have no plain Python value and get
their own: a date outside the years 1..9999 is an int of days since 1970-01-01, and a timestamp that
a datetime cannot hold (nanoseconds, or such a year) is an `EpochTime`.

On the wire an array is a JSON array, a row {"row": [value, …]}, and a map
{"map": [[key, value], …]}, whose order means nothing: `ordered` sorts entries by the text of their
keys, for comparisons.

This module uses the standard library alone, because the pypaimon peer imports it in an environment
of its own.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, NamedTuple, cast

__all__ = [
    "ColumnType",
    "EpochTime",
    "Json",
    "ScalarType",
    "decode",
    "decode_rows",
    "encode",
    "encode_rows",
    "float_text",
    "ordered",
    "parse_type",
    "type_json",
]

Json = bool | int | str | list[Any] | dict[str, Any] | None
"""What one value looks like on the wire."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_DECIMALS = Context(prec=80)  # beyond the 38 digits of any column, so rescaling never rounds
_MICROS = 6
_TYPE = re.compile(
    r"(?P<root>[A-Z]+(?:_LTZ)?)\s*"
    r"(?:\(\s*(?P<first>\d+)\s*(?:,\s*(?P<second>\d+)\s*)?\))?"
    r"(?P<zone>\s+WITH(?:OUT|\s+LOCAL)?\s+TIME\s+ZONE)?"
    r"(?P<nulls>\s+(?:NOT\s+)?NULL)?"
)
_NESTED = re.compile(
    r"(?P<root>ARRAY|MAP|MULTISET|ROW)\s*<(?P<inner>.*)>(?P<nulls>\s+(?:NOT\s+)?NULL)?",
    re.IGNORECASE | re.DOTALL,
)
_TOKEN = re.compile(r"`(?:[^`]|``)*`|[<>(),]|[^`<>(),]+")
_ROW_FIELD = re.compile(
    r"\s*(?:`(?P<quoted>(?:[^`]|``)+)`|(?P<plain>\S+))\s+(?P<type>.*)", re.DOTALL
)
_SAME_ROOT = {"INTEGER": "INT", "NUMERIC": "DECIMAL", "DEC": "DECIMAL"}
_TEXT = frozenset({"CHAR", "VARCHAR", "STRING"})
_BYTES = frozenset({"BINARY", "VARBINARY", "BYTES"})
_DEFAULTS = {"DECIMAL": 10, "TIMESTAMP": 6, "TIMESTAMP_LTZ": 6, "TIME": 0}
_INTEGERS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}


class EpochTime(NamedTuple):
    """A timestamp as Paimon keeps it: milliseconds since 1970 and nanoseconds within the last."""

    ms: int
    ns: int = 0


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column type's root name, its two numbers, whether it takes nulls, and what is in it.

    ``parts``: (name, type) of a row's fields; "element" of an array; "key" and "value" of maps and
    multisets.
    """

    root: str
    precision: int
    scale: int
    nullable: bool
    parts: tuple[tuple[str, ColumnType], ...] = ()

    @property
    def inner(self) -> list[ColumnType]:
        """Types of the parts."""
        return [kind for _, kind in self.parts]


ScalarType = ColumnType
"""Where only types without parts come."""


@functools.cache
def parse_type(text: str) -> ColumnType:
    """Reads a type's SQL text; `X WITH LOCAL TIME ZONE` has the root `TIMESTAMP_LTZ`."""
    nested = _NESTED.fullmatch(text.strip())
    if nested is not None:
        return _nested_type(nested)
    match = _TYPE.fullmatch(text.strip().upper())
    if match is None:
        raise ValueError(f"not a type: {text!r}")
    root = _SAME_ROOT.get(match["root"], match["root"])
    if match["zone"] and "LOCAL" in match["zone"]:
        root = "TIMESTAMP_LTZ"
    first = match["first"]
    precision = int(first) if first is not None else _DEFAULTS.get(root, 0)
    return ColumnType(root, precision, int(match["second"] or 0), _nullable(match))


def _nullable(match: re.Match[str]) -> bool:
    return "NOT" not in (match["nulls"] or "").upper()


def _nested_type(match: re.Match[str]) -> ColumnType:
    root = match["root"].upper()
    parts = [(name, parse_type(text)) for name, text in _parts(root, match["inner"])]
    if root == "MULTISET":
        parts.append(("value", parse_type("INT NOT NULL")))
    return ColumnType(root, 0, 0, _nullable(match), tuple(parts))


def _parts(root: str, inner: str) -> list[tuple[str, str]]:
    """Names and type texts of what is between the angle brackets."""
    pieces = _pieces(inner)
    if root == "ROW":
        fields = [_ROW_FIELD.fullmatch(piece) for piece in pieces]
        return [(_row_name(field), field["type"].strip()) for field in fields if field is not None]
    names = {"ARRAY": ["element"], "MULTISET": ["key"], "MAP": ["key", "value"]}[root]
    return list(zip(names, pieces, strict=True))


def _row_name(field: re.Match[str]) -> str:
    return field["plain"] or field["quoted"].replace("``", "`")


def _pieces(inner: str) -> list[str]:
    pieces, depth = [""], 0
    for token in _TOKEN.findall(inner):
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(token, 0)
        if token == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += token
    return [piece.strip() for piece in pieces]


def type_json(text: str) -> str | dict[str, Any]:
    """The form that schema files have, which libraries parse; fields are numbered from 0."""
    nested = _NESTED.fullmatch(text.strip())
    if nested is None:
        return text
    root = nested["root"].upper()
    made: dict[str, Any] = {"type": root if _nullable(nested) else f"{root} NOT NULL"}
    parts = [(name, type_json(part)) for name, part in _parts(root, nested["inner"])]
    if root == "ROW":
        fields = [{"id": i, "name": name, "type": part} for i, (name, part) in enumerate(parts)]
        return {**made, "fields": fields}
    if root == "MULTISET":
        return {**made, "element": parts[0][1]}
    return {**made, **dict(parts)}


def ordered(value: Json) -> Json:
    """The same wire value with the entries of all maps in it in one order."""
    if not isinstance(value, (list, dict)):  # most are
        return value
    if isinstance(value, list):
        return [ordered(item) for item in value]
    if "map" in value:
        entries = cast("list[list[Json]]", [ordered(entry) for entry in value["map"]])
        return {"map": sorted(entries, key=_key_text)}
    return {key: ordered(item) for key, item in value.items()}


def _key_text(entry: list[Json]) -> str:
    return json.dumps(entry[0], sort_keys=True)


def float_text(value: float) -> str:
    """The wire text of a float: repr, with the three special numbers as Java spells them."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(float(value))


def encode(type_text: str | ColumnType, value: Any) -> Json:
    """The wire form of one plain value of the given type."""
    if value is None:
        return None
    kind = parse_type(type_text) if isinstance(type_text, str) else type_text
    root = kind.root
    if root == "BOOLEAN":
        return bool(value)
    if root in _INTEGERS:
        return _checked_integer(int(value), _INTEGERS[root])
    if root in ("FLOAT", "DOUBLE"):
        return float_text(value)
    if root == "DECIMAL":
        return _decimal_text(Decimal(value), kind.scale)
    if root in _TEXT:
        return str(value)
    if root in _BYTES:
        return bytes(value).hex()
    if root == "DATE":
        return _date_text(value)
    if root == "TIME":
        return _time_millis(value)
    if root in ("TIMESTAMP", "TIMESTAMP_LTZ"):
        return _epoch_time(value)._asdict()
    if kind.parts:
        return _encode_nested(kind, value)
    raise ValueError(f"no canonical form of {kind}")


def decode(type_text: str | ColumnType, value: Json) -> Any:
    """The plain value of one wire form; the inverse of `encode`."""
    if value is None:
        return None
    kind = parse_type(type_text) if isinstance(type_text, str) else type_text
    root = kind.root
    if root == "BOOLEAN" or root in _INTEGERS or root in _TEXT:
        return value
    if root in ("FLOAT", "DOUBLE"):
        return float(cast(str, value))
    if root == "DECIMAL":
        return Decimal(cast(str, value))
    if root in _BYTES:
        return bytes.fromhex(cast(str, value))
    if root == "DATE":
        return _date(cast(str, value))
    if root == "TIME":
        millis = cast(int, value)
        return (_EPOCH + timedelta(milliseconds=millis)).time()
    if root in ("TIMESTAMP", "TIMESTAMP_LTZ"):
        fields = cast("dict[str, int]", value)
        return _timestamp(EpochTime(fields["ms"], fields["ns"]), kind)
    if kind.parts:
        return _decode_nested(kind, value)
    raise ValueError(f"no canonical form of {kind}")


def _encode_nested(kind: ColumnType, value: Any) -> Json:
    if kind.root == "ARRAY":
        return [encode(kind.inner[0], item) for item in value]
    if kind.root == "ROW":
        return {"row": [encode(part, value[name]) for name, part in kind.parts]}
    key, count = kind.inner
    return ordered({"map": [[encode(key, k), encode(count, v)] for k, v in value]})


def _decode_nested(kind: ColumnType, value: Any) -> Any:
    if kind.root == "ARRAY":
        return [decode(kind.inner[0], item) for item in value]
    if kind.root == "ROW":
        fields = zip(kind.parts, value["row"], strict=True)
        return {name: decode(part, item) for (name, part), item in fields}
    key, count = kind.inner
    return [(decode(key, k), decode(count, v)) for k, v in value["map"]]


def encode_rows(types: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[list[Json]]:
    """Encodes rows whose values follow `types`; ValueError on a row of another length."""
    kinds = [parse_type(text) for text in types]
    return [[encode(k, v) for k, v in zip(kinds, row, strict=True)] for row in rows]


def decode_rows(types: Sequence[str], rows: Iterable[Sequence[Json]]) -> list[tuple[Any, ...]]:
    """Decodes rows whose values follow `types`; ValueError on a row of another length."""
    kinds = [parse_type(text) for text in types]
    return [tuple(decode(k, v) for k, v in zip(kinds, row, strict=True)) for row in rows]


def _checked_integer(value: int, bits: int) -> int:
    limit = 1 << (bits - 1)
    if not -limit <= value < limit:
        raise ValueError(f"{value} does not fit {bits} bits")
    return value


def _decimal_text(value: Decimal, scale: int) -> str:
    unit = Decimal(1).scaleb(-scale)
    scaled = value.quantize(unit, rounding=ROUND_HALF_EVEN, context=_DECIMALS)
    if scaled != value:
        raise ValueError(f"{value} has more than {scale} digits after the point")
    # Zero has no sign in the formats; Python's decimal would keep one.
    return f"{abs(scaled) if scaled == 0 else scaled:f}"


def _date_text(value: date | int) -> str:
    days = value if isinstance(value, int) else value.toordinal() - _EPOCH_DAY
    ordinal = days + _EPOCH_DAY
    if date.min.toordinal() <= ordinal <= date.max.toordinal():
        return date.fromordinal(ordinal).isoformat()
    return f"d:{days}"


def _date(text: str) -> date | int:
    return int(text[2:]) if text.startswith("d:") else date.fromisoformat(text)


def _time_millis(value: time | int) -> int:
    if isinstance(value, int):
        return value
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return seconds * 1000 + value.microsecond // 1000


def _epoch_time(value: datetime | EpochTime) -> EpochTime:
    if isinstance(value, EpochTime):
        return value
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    millis, micros = divmod((aware - _EPOCH) // _MICROSECOND, 1000)
    return EpochTime(millis, micros * 1000)


def _timestamp(value: EpochTime, kind: ColumnType) -> datetime | EpochTime:
    if kind.precision > _MICROS or value.ns % 1000:
        return value
    try:
        aware = _EPOCH + timedelta(milliseconds=value.ms, microseconds=value.ns // 1000)
    except OverflowError:
        return value
    return aware if kind.root == "TIMESTAMP_LTZ" else aware.replace(tzinfo=None)
