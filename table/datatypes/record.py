"""What a Paimon type is: one record, `DataType`, for primitive and nested ones.

A nested type has *parts*: the element of an ARRAY, key and value of a MAP, the fields of a ROW. A
MULTISET is a MAP of its element to an INT NOT NULL count, in files and in memory alike, and has its
parts. Parts are `Field` records as columns are; only those of a ROW have an id and a name of their
own, the others have the names that Parquet gives them and no id.

Spec: format §2.2, §2.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count

MAX_LENGTH = 2147483647
QUOTE = "'"
NO_ID = -1
"""Id of a part that has none, and of a ROW's fields until a table hands them out."""


class Root(StrEnum):
    """The type without its parameters; the values are Paimon's words."""

    BOOLEAN = "BOOLEAN"
    TINYINT = "TINYINT"
    SMALLINT = "SMALLINT"
    INT = "INT"
    BIGINT = "BIGINT"
    FLOAT = "FLOAT"
    DOUBLE = "DOUBLE"
    DECIMAL = "DECIMAL"
    CHAR = "CHAR"
    VARCHAR = "VARCHAR"
    BINARY = "BINARY"
    VARBINARY = "VARBINARY"
    DATE = "DATE"
    TIME = "TIME"
    TIMESTAMP = "TIMESTAMP"
    TIMESTAMP_LTZ = "TIMESTAMP_LTZ"
    ARRAY = "ARRAY"
    MAP = "MAP"
    MULTISET = "MULTISET"
    ROW = "ROW"


INTEGERS = frozenset({Root.TINYINT, Root.SMALLINT, Root.INT, Root.BIGINT})
FLOATS = frozenset({Root.FLOAT, Root.DOUBLE})
STRINGS = frozenset({Root.CHAR, Root.VARCHAR})
BYTES = frozenset({Root.BINARY, Root.VARBINARY})
TIMESTAMPS = frozenset({Root.TIMESTAMP, Root.TIMESTAMP_LTZ})
MAPS = frozenset({Root.MAP, Root.MULTISET})
NESTED = MAPS | {Root.ARRAY, Root.ROW}


@dataclass(frozen=True, slots=True)
class DataType:
    """One type.

    ``length`` is set for CHAR, VARCHAR, BINARY, VARBINARY; ``precision`` for DECIMAL, TIME and
    timestamps; ``scale`` for DECIMAL; ``parts`` for nested types. Elsewhere they are 0 and empty.
    """

    root: Root
    nullable: bool = True
    length: int = 0
    precision: int = 0
    scale: int = 0
    parts: tuple[Field, ...] = ()

    @property
    def nested(self) -> bool:
        return self.root in NESTED

    @property
    def element(self) -> DataType:
        """Of an ARRAY."""
        return self.parts[0].type

    @property
    def key(self) -> DataType:
        """Of a MAP; of a MULTISET, its element. Never null in a file, whatever the type says."""
        return self.parts[0].type

    @property
    def value(self) -> DataType:
        """Of a MAP; of a MULTISET, the count."""
        return self.parts[1].type

    def not_null(self) -> DataType:
        return replace(self, nullable=False)

    def __str__(self) -> str:
        return type_text(self)


@dataclass(frozen=True, slots=True)
class Field:
    """A column, or a field of a ROW; ``id`` stays with it through renames and type changes."""

    id: int
    name: str
    type: DataType
    description: str | None = None
    default: str | None = None


def array_of(element: DataType, *, nullable: bool = True) -> DataType:
    return DataType(Root.ARRAY, nullable, parts=(Field(NO_ID, "element", element),))


def map_of(key: DataType, value: DataType, *, nullable: bool = True) -> DataType:
    parts = (Field(NO_ID, "key", key), Field(NO_ID, "value", value))
    return DataType(Root.MAP, nullable, parts=parts)


def multiset_of(element: DataType, *, nullable: bool = True) -> DataType:
    counted = map_of(element, DataType(Root.INT, nullable=False), nullable=nullable)
    return replace(counted, root=Root.MULTISET)


def row_of(fields: Sequence[Field], *, nullable: bool = True) -> DataType:
    return DataType(Root.ROW, nullable, parts=tuple(fields))


def walk(data_type: DataType) -> Iterator[DataType]:
    """The type and everything inside it, outer ones first."""
    yield data_type
    for part in data_type.parts:
        yield from walk(part.type)


def row_fields(data_type: DataType) -> Iterator[Field]:
    """The fields of all ROWs inside, in no order that means anything."""
    for found in walk(data_type):
        if found.root is Root.ROW:
            yield from found.parts


def numbered(data_type: DataType, ids: count[int]) -> DataType:
    """The type with new ids for all its ROW fields, taken after what is inside each (§2.3)."""
    parts: list[Field] = []
    for part in data_type.parts:
        inner = numbered(part.type, ids)
        own = next(ids) if data_type.root is Root.ROW else part.id
        parts.append(replace(part, id=own, type=inner))
    return replace(data_type, parts=tuple(parts))


def type_text(data_type: DataType) -> str:
    """The SQL text, for primitive types the one that Java writes into schema files."""
    root = data_type.root
    match root:
        case Root.CHAR | Root.BINARY:
            text = f"{root}({data_type.length})"
        case Root.VARCHAR:
            text = "STRING" if data_type.length == MAX_LENGTH else f"VARCHAR({data_type.length})"
        case Root.VARBINARY:
            text = "BYTES" if data_type.length == MAX_LENGTH else f"VARBINARY({data_type.length})"
        case Root.DECIMAL:
            text = f"DECIMAL({data_type.precision}, {data_type.scale})"
        case Root.TIME | Root.TIMESTAMP:
            text = f"{root}({data_type.precision})"
        case Root.TIMESTAMP_LTZ:
            text = f"TIMESTAMP({data_type.precision}) WITH LOCAL TIME ZONE"
        case Root.ARRAY | Root.MULTISET:
            text = f"{root}<{type_text(data_type.key)}>"
        case Root.MAP:
            text = f"MAP<{type_text(data_type.key)}, {type_text(data_type.value)}>"
        case Root.ROW:
            text = f"ROW<{', '.join(_field_text(f) for f in data_type.parts)}>"
        case _:
            text = root.value
    return text if data_type.nullable else f"{text} NOT NULL"


def _field_text(field: Field) -> str:
    text = f"{_quoted(field.name, '`')} {type_text(field.type)}"
    return f"{text} {_quoted(field.description, QUOTE)}" if field.description else text


def _quoted(text: str, quote: str) -> str:
    return quote + text.replace(quote, quote * 2) + quote
