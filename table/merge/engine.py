"""Which engine a table's options ask for, as plain records; everything unknown is refused by name.

Spec: maintenance §4.2–4.6; reference classes ``*MergeFunction.Factory``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..datatypes import DataType
from ..errors import InvalidRequest, UnsupportedFeature
from ..options import TableOptions
from ..schema import TableSchema
from .functions.base import Function
from .functions.catalog import (
    LAST_NOT_NULL,
    LAST_NOT_NULL_NAME,
    LAST_VALUE,
    PRIMARY_KEY,
    SUFFIXES,
    function_of,
)

GROUP_SUFFIX = ".sequence-group"
DEFAULT_FUNCTION = "fields.default-aggregate-function"


@dataclass(frozen=True, slots=True)
class Deduplicate:
    """The last record of a key."""

    ignore_delete: bool = False


@dataclass(frozen=True, slots=True)
class FirstRow:
    """The first record of a key; a retract is an error unless it is ignored."""

    ignore_delete: bool = False


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """A table column and what is done with its values; ``function``: None overlays what is not
    null. ``group``: the number of the sequence group that protects it, or whose sequence it is."""

    name: str
    type: DataType
    function: Function | None = None
    group: int | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A sequence group: ``sequence`` decides whether a record is news to the columns it protects.

    ``removes``: a delete that is not older removes the whole row.
    """

    sequence: tuple[str, ...]
    removes: bool = False


@dataclass(frozen=True, slots=True)
class PartialUpdate:
    """Columns of several records laid over each other."""

    columns: tuple[ValueColumn, ...]
    groups: tuple[Group, ...] = ()
    ignore_delete: bool = False
    remove_on_delete: bool = False

    def only(self, names: Iterable[str]) -> PartialUpdate:
        """The engine over fewer columns; those that decide about the others stay."""
        wanted = set(names)
        groups = {c.group for c in self.columns if c.name in wanted and c.group is not None}
        groups |= {i for i, g in enumerate(self.groups) if g.removes}
        wanted |= {name for i in groups for name in self.groups[i].sequence}
        kept = tuple(c for c in self.columns if c.name in wanted)
        return PartialUpdate(kept, self.groups, self.ignore_delete, self.remove_on_delete)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """Each column by a function of its own."""

    columns: tuple[ValueColumn, ...]
    remove_on_delete: bool = False

    def only(self, names: Iterable[str]) -> Aggregation:
        """The engine over fewer columns."""
        wanted = set(names)
        kept = tuple(c for c in self.columns if c.name in wanted)
        return Aggregation(kept, self.remove_on_delete)


Engine = Deduplicate | FirstRow | PartialUpdate | Aggregation


def engine_of(schema: TableSchema) -> Engine:
    """The engine of a keyed table.

    Raises:
        UnsupportedFeature: an engine, function or option that is not known, or does not fit.
        InvalidRequest: options that contradict each other, or name columns that are not there.
    """
    options = schema.options
    _check_field_options(schema)
    match options.merge_engine:
        case "deduplicate":
            return Deduplicate(options.ignore_delete)
        case "first-row":
            return _first_row(options)
        case "partial-update":
            return _partial_update(schema)
        case "aggregation":
            return _aggregation(schema)
        case other:
            raise UnsupportedFeature("option is not supported", option="merge-engine", value=other)


def needed_columns(engine: Engine, wanted: Sequence[str]) -> tuple[str, ...]:
    """Table columns that must be read to have the ``wanted`` ones merged."""
    if isinstance(engine, PartialUpdate):
        decided = [c.name for c in engine.only(wanted).columns]
        return tuple(dict.fromkeys((*wanted, *decided)))
    return tuple(wanted)


def only_columns(engine: Engine, names: Iterable[str]) -> Engine:
    """The engine as far as these columns go."""
    if isinstance(engine, PartialUpdate | Aggregation):
        return engine.only(names)
    return engine


def _first_row(options: TableOptions) -> FirstRow:
    if options.sequence_fields:
        raise InvalidRequest("first-row takes no sequence.field", option="sequence.field")
    return FirstRow(options.ignore_delete)


# --- partial-update -----------------------------------------------------------------------------


def _partial_update(schema: TableSchema) -> PartialUpdate:
    options = schema.options
    groups, group_of = _groups(schema)
    sequences = {name for group in groups for name in group.sequence}
    columns = tuple(
        ValueColumn(
            f.name, f.type, _partial_function(schema, f.name, sequences, group_of),
            group_of.get(f.name),
        )
        for f in schema.fields
    )  # fmt: skip
    remove_on_delete = options.flag("partial-update.remove-record-on-delete", default=False)
    removes = options.names("partial-update.remove-record-on-sequence-group")
    if options.ignore_delete and (remove_on_delete or removes):
        raise InvalidRequest("ignore-delete contradicts removing records on delete")
    if remove_on_delete and groups:
        raise InvalidRequest("remove-record-on-delete contradicts sequence groups")
    return PartialUpdate(columns, groups, options.ignore_delete, remove_on_delete)


def _groups(schema: TableSchema) -> tuple[tuple[Group, ...], dict[str, int]]:
    """The sequence groups, and the group of each column that is in one."""
    removes = set(schema.options.names("partial-update.remove-record-on-sequence-group"))
    groups: list[Group] = []
    group_of: dict[str, int] = {}
    for key, value in schema.raw_options.items():
        if not (key.startswith("fields.") and key.endswith(GROUP_SUFFIX)):
            continue
        sequence = tuple(key[len("fields.") : -len(GROUP_SUFFIX)].split(","))
        for name in dict.fromkeys((*sequence, *value.split(","))):
            if name not in schema.names:
                raise InvalidRequest("no such column in a sequence group", option=key, column=name)
            if name in schema.primary_keys:
                raise InvalidRequest("a sequence group holds a key", option=key, column=name)
            if name in group_of:
                raise InvalidRequest("a column is in two sequence groups", option=key, column=name)
            group_of[name] = len(groups)
        groups.append(Group(sequence, removes=bool(removes & set(sequence))))
    unknown = removes - {name for group in groups for name in group.sequence}
    if unknown:
        raise InvalidRequest(
            "no sequence of a group",
            option="partial-update.remove-record-on-sequence-group",
            column=min(unknown),
        )
    return tuple(groups), group_of


def _partial_function(
    schema: TableSchema, name: str, sequences: set[str], group_of: dict[str, int]
) -> Function | None:
    if name in sequences:
        return None
    if name in schema.primary_keys:
        return PRIMARY_KEY
    function = _named_function(schema.options, name)
    if function is None:
        return None
    if function != LAST_NOT_NULL_NAME and name not in group_of:
        raise InvalidRequest(
            "aggregate functions of partial-update need a sequence group", column=name,
            function=function,
        )  # fmt: skip
    return function_of(function, schema.column(name).type, schema.options, name)


# --- aggregation --------------------------------------------------------------------------------


def _aggregation(schema: TableSchema) -> Aggregation:
    options = schema.options
    removes = options.flag("aggregation.remove-record-on-delete", default=False)
    for name in schema.names if removes else ():
        if options.flag(f"fields.{name}.ignore-retract", default=False):
            raise InvalidRequest(
                "aggregation.remove-record-on-delete contradicts ignoring retracts", column=name
            )
    columns = tuple(ValueColumn(f.name, f.type, _function(schema, f.name)) for f in schema.fields)
    return Aggregation(columns, removes)


def _function(schema: TableSchema, name: str) -> Function:
    options = schema.options
    own = f"fields.{name}.aggregate-function"
    if name in options.sequence_fields:
        if own in options.raw:
            raise InvalidRequest("a sequence.field takes no aggregate function", option=own)
        return LAST_VALUE
    if name in schema.primary_keys:
        return PRIMARY_KEY
    function = _named_function(options, name)
    if function is None:
        return LAST_NOT_NULL
    return function_of(function, schema.column(name).type, options, name)


def _named_function(options: TableOptions, name: str) -> str | None:
    named = options.raw.get(f"fields.{name}.aggregate-function")
    return options.raw.get(DEFAULT_FUNCTION) if named is None else named


# --- options ------------------------------------------------------------------------------------


def _check_field_options(schema: TableSchema) -> None:
    """Every ``fields.…`` option must be one that is understood, of a column that is there."""
    for key, value in schema.raw_options.items():
        if not key.startswith("fields.") or key == DEFAULT_FUNCTION or key.endswith(GROUP_SUFFIX):
            continue
        name, dot, suffix = key.removeprefix("fields.").partition(".")
        if not dot or (suffix not in SUFFIXES and suffix != "stats-mode"):
            raise UnsupportedFeature("option is not supported", option=key, value=value)
        if name not in schema.names:
            raise InvalidRequest("option of a column that is not there", option=key, column=name)
