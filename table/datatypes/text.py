"""Type text and the JSON of nested types, as schema files and callers write them.

In schema files a primitive type is text and a nested one an object; callers may also write nested
types as SQL text (``ARRAY<INT NOT NULL>``, ``ROW<a INT, `b c` MAP<STRING, DATE>>``), whose ROW
fields have no ids yet.

Spec: format §2.2; reference class ``DataTypeJsonParser``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from ..errors import CorruptTable, UnsupportedFeature
from .record import (
    BYTES,
    MAX_LENGTH,
    NESTED,
    NO_ID,
    STRINGS,
    TIMESTAMPS,
    DataType,
    Field,
    Root,
    array_of,
    map_of,
    multiset_of,
    row_of,
    type_text,
)

DEPTH_MAX = 64
"""Types inside types. Far beyond use, and well below what recursion can stand."""

_REFUSED = frozenset({"VARIANT", "BLOB", "VECTOR", "GEOMETRY", "GEOGRAPHY"})
_ALIASES = {
    "INTEGER": "INT",
    "DOUBLE PRECISION": "DOUBLE",
    "DEC": "DECIMAL",
    "NUMERIC": "DECIMAL",
    "STRING": "VARCHAR",
    "BYTES": "VARBINARY",
}
_TEXT = re.compile(
    r"^\s*(?P<word>[A-Z_]+(?: PRECISION)?)\s*(?:\(\s*(?P<a>\d+)\s*(?:,\s*(?P<b>\d+)\s*)?\))?"
    r"(?P<zone>\s+WITH(?:OUT)?(?: LOCAL)? TIME ZONE)?(?P<not>\s+NOT NULL|\s+NULL)?\s*$"
)
_NESTED_TEXT = re.compile(
    r"\s*(?P<word>ARRAY|MAP|MULTISET|ROW)\s*<(?P<inner>.*)>\s*(?P<not>NOT\s+NULL|NULL)?\s*",
    re.IGNORECASE | re.DOTALL,
)
_NESTED_WORD = re.compile(r"(?P<word>[A-Z]+)(?P<not> NOT NULL)?")
_QUOTED = r"`(?:[^`]|``)*`|'(?:[^']|'')*'"
_TOKENS = re.compile(rf"{_QUOTED}|[<>(),]|[^`'<>(),]+|.", re.DOTALL)
_FIELD_TEXT = re.compile(
    r"\s*(?:`(?P<quoted>(?:[^`]|``)+)`|(?P<plain>[^\s`'<>(),]+))\s+(?P<type>.*?)"
    r"(?:\s+(?:COMMENT\s+)?'(?P<comment>(?:[^']|'')*)')?\s*",
    re.IGNORECASE | re.DOTALL,
)


def parse_type(value: object) -> DataType:
    """The type that a schema file's ``type`` value, or a caller's text, says.

    Raises:
        UnsupportedFeature: special and unknown types, by name.
        CorruptTable: what is no type.
    """
    return _text(value, 0) if isinstance(value, str) else _json(value, 0)


def _check_depth(depth: int) -> None:
    if depth > DEPTH_MAX:
        raise UnsupportedFeature("type is nested too deeply", depth_max=DEPTH_MAX)


# JSON


def _json(value: object, depth: int) -> DataType:
    """Of a schema file, where text is a primitive type."""
    _check_depth(depth)
    if isinstance(value, dict):
        return _object(cast(dict[str, object], value), depth)
    if isinstance(value, str):
        return _primitive(value)
    raise CorruptTable("a type must be text", type=value)


def _object(raw: Mapping[str, object], depth: int) -> DataType:
    kind = raw.get("type")
    match = _NESTED_WORD.fullmatch(kind) if isinstance(kind, str) else None
    if match is None or match["word"] not in NESTED:
        raise UnsupportedFeature("type is not supported", type=kind)
    nullable = match["not"] is None
    try:
        match Root(match["word"]):
            case Root.ARRAY:
                return array_of(_json(raw["element"], depth + 1), nullable=nullable)
            case Root.MULTISET:
                return multiset_of(_json(raw["element"], depth + 1), nullable=nullable)
            case Root.MAP:
                key, value = (_json(raw[part], depth + 1) for part in ("key", "value"))
                return map_of(key, value, nullable=nullable)
            case _:
                fields = cast(list[Mapping[str, object]], raw["fields"])
                return row_of([_field(f, depth + 1) for f in fields], nullable=nullable)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptTable("a part of a nested type is missing", type=kind) from error


def load_field(raw: Mapping[str, object]) -> Field:
    """A column, as schema files have it.

    Raises:
        UnsupportedFeature, CorruptTable: its type, with the column's name.
        KeyError, ValueError: a part of it is missing or no number.
    """
    return _field(raw, 0)


def _field(raw: Mapping[str, object], depth: int) -> Field:
    name = str(raw["name"])
    try:
        data_type = _json(raw["type"], depth)
    except (UnsupportedFeature, CorruptTable) as error:
        raise error.at(column=name) from error
    description, default = raw.get("description"), raw.get("defaultValue")
    return Field(
        int(str(raw["id"])),
        name,
        data_type,
        None if description is None else str(description),
        None if default is None else str(default),
    )


def dump_field(field: Field) -> dict[str, object]:
    """The field as Java writes it into schema files."""
    raw: dict[str, object] = {"id": field.id, "name": field.name, "type": dump_type(field.type)}
    if field.description is not None:
        raw["description"] = field.description
    if field.default is not None:
        raw["defaultValue"] = field.default
    return raw


def dump_type(data_type: DataType) -> str | dict[str, object]:
    """The ``type`` value as Java writes it into schema files."""
    if not data_type.nested:
        return type_text(data_type)
    root = data_type.root
    raw: dict[str, object] = {"type": root.value + ("" if data_type.nullable else " NOT NULL")}
    match root:
        case Root.ARRAY | Root.MULTISET:
            raw["element"] = dump_type(data_type.parts[0].type)
        case Root.MAP:
            raw["key"], raw["value"] = dump_type(data_type.key), dump_type(data_type.value)
        case _:
            raw["fields"] = [dump_field(f) for f in data_type.parts]
    return raw


# SQL text


def _text(text: str, depth: int) -> DataType:
    _check_depth(depth)
    match = _NESTED_TEXT.fullmatch(text)
    return _primitive(text) if match is None else _from_text(match, text, depth)


def _from_text(found: re.Match[str], text: str, depth: int) -> DataType:
    root = Root(found["word"].upper())
    nullable = (found["not"] or "").upper() in ("", "NULL")
    pieces = _pieces(found["inner"], text)
    if root is Root.ROW:
        fields = [_text_field(piece, text, depth + 1) for piece in pieces]
        return row_of(fields, nullable=nullable)
    if len(pieces) != (2 if root is Root.MAP else 1):
        raise _unknown(text)
    parts = [_text(piece, depth + 1) for piece in pieces]
    match root:
        case Root.ARRAY:
            return array_of(*parts, nullable=nullable)
        case Root.MULTISET:
            return multiset_of(*parts, nullable=nullable)
        case _:
            return map_of(*parts, nullable=nullable)


def _pieces(inner: str, text: str) -> list[str]:
    """``inner`` cut at the commas that are in no brackets and no quotes."""
    pieces, depth = [""], 0
    for token in _TOKENS.findall(inner):
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(token, 0)
        if depth < 0:
            raise _unknown(text)
        if token == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += token
    return pieces


def _text_field(piece: str, text: str, depth: int) -> Field:
    match = _FIELD_TEXT.fullmatch(piece)
    if match is None:
        raise _unknown(text)
    name = match["plain"] if match["quoted"] is None else match["quoted"].replace("``", "`")
    comment = None if match["comment"] is None else match["comment"].replace("''", "'")
    return Field(NO_ID, name, _text(match["type"], depth), comment)


def _primitive(text: str) -> DataType:
    match = _TEXT.match(text.upper())
    if match is None:
        raise _unknown(text)
    word = _ALIASES.get(match["word"], match["word"])
    first = int(match["a"]) if match["a"] else None
    second = int(match["b"]) if match["b"] else None
    nullable = (match["not"] or "").strip() != "NOT NULL"
    if match["zone"] and "LOCAL" in match["zone"]:
        word = {"TIMESTAMP": "TIMESTAMP_LTZ"}.get(word, word)
    if word not in Root.__members__ or word in NESTED:
        raise _unknown(text)
    defaulted = _with_default(match["word"], Root(word), first, second)
    return _checked(replace(defaulted, nullable=nullable), text)


def _unknown(text: str) -> Exception:
    word = re.split(r"[\s(<]", text.strip().upper(), maxsplit=1)[0]
    if word in _REFUSED:
        return UnsupportedFeature("type is not supported", type=text)
    return UnsupportedFeature("unknown type", type=text)


def _with_default(word: str, root: Root, first: int | None, second: int | None) -> DataType:
    if word in ("STRING", "BYTES"):
        return DataType(root, length=MAX_LENGTH)
    if root in STRINGS | BYTES:
        return DataType(root, length=1 if first is None else first)
    if root is Root.DECIMAL:
        return DataType(root, precision=10 if first is None else first, scale=second or 0)
    if root is Root.TIME:
        return DataType(root, precision=first or 0)
    if root in TIMESTAMPS:
        return DataType(root, precision=6 if first is None else first)
    return DataType(root)


def _checked(parsed: DataType, text: str) -> DataType:
    bad = (
        (parsed.root in STRINGS | BYTES and not 1 <= parsed.length <= MAX_LENGTH)
        or (
            parsed.root is Root.DECIMAL
            and not (1 <= parsed.precision <= 38 and parsed.scale <= parsed.precision)
        )
        or (parsed.root in TIMESTAMPS | {Root.TIME} and parsed.precision > 9)
    )
    if bad:
        raise CorruptTable("type parameters out of range", type=text)
    return parsed
