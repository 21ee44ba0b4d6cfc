"""Which function a column's options name, made ready for its type; unknown names are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...datatypes import DataType, Root
from ...errors import UnsupportedFeature
from ...options import TableOptions
from .base import Function, IgnoreRetract, misfit
from .bitmaps import BitmapUnion
from .choose import Both, Extreme, FirstNotNull, FirstValue, LastNotNull, LastValue, PrimaryKey
from .nested import LIMIT_MAX, Collect, MergeMap, MergeMapByTime, Nested, NullKeys
from .nested_rows import NestedPartialUpdate, NestedUpdate
from .numeric import Product, Sum
from .text import ListAgg

PRIMARY_KEY = PrimaryKey()
LAST_VALUE = LastValue()
LAST_NOT_NULL = LastNotNull()
LAST_NOT_NULL_NAME = "last_non_null_value"

SUFFIXES = frozenset(
    {
        "aggregate-function", "ignore-retract", "nested-key", "nested-key-null-strategy",
        "nested-sequence-field", "count-limit", "distinct", "list-agg-delimiter", "ts-field",
    }
)  # fmt: skip
"""What ``fields.<column>.`` may be followed by for functions."""


_NULL_KEYS: Mapping[str, NullKeys] = {"merge": "merge", "ignore": "ignore", "error": "error"}


class ColumnOptions:
    """``fields.<name>.*`` of one column."""

    def __init__(self, options: TableOptions, name: str) -> None:
        self._options = options
        self.name = name

    def key(self, suffix: str) -> str:
        return f"fields.{self.name}.{suffix}"

    def text(self, suffix: str) -> str | None:
        """As written: a delimiter may be a blank."""
        return self._options.raw.get(self.key(suffix))

    def names(self, suffix: str) -> tuple[str, ...]:
        text = self.text(suffix)
        return () if text is None else tuple(part.strip() for part in text.split(","))

    def flag(self, suffix: str) -> bool:
        return self._options.flag(self.key(suffix), default=False)

    @property
    def nested(self) -> Nested:
        strategy = (self.text("nested-key-null-strategy") or "merge").strip().lower()
        null_keys = _NULL_KEYS.get(strategy)
        if null_keys is None:
            raise UnsupportedFeature(
                "option is not supported", option=self.key("nested-key-null-strategy"),
                value=strategy,
            )  # fmt: skip
        return Nested(
            keys=self.names("nested-key"),
            sequence=self.names("nested-sequence-field"),
            limit=self._options.number(self.key("count-limit"), LIMIT_MAX),
            null_keys=null_keys,
        )


Maker = Callable[[DataType, ColumnOptions], Function]


def _list_agg(data_type: DataType, options: ColumnOptions) -> Function:
    delimiter = options.text("list-agg-delimiter")
    return ListAgg(data_type, "," if delimiter is None else delimiter, options.flag("distinct"))


def _merge_map_by_time(data_type: DataType, options: ColumnOptions) -> Function:
    given = options.text("ts-field")
    if data_type.root is not Root.MAP or not data_type.value.parts:
        raise misfit("merge_map_with_keytime", data_type)
    return MergeMapByTime(data_type, given or data_type.value.parts[-1].name)


_MAKERS: dict[str, Maker] = {
    "last_value": lambda t, o: LAST_VALUE,
    LAST_NOT_NULL_NAME: lambda t, o: LAST_NOT_NULL,
    "first_value": lambda t, o: FirstValue(),
    "first_non_null_value": lambda t, o: FirstNotNull(),
    "first_not_null_value": lambda t, o: FirstNotNull(),
    "sum": lambda t, o: Sum(t),
    "product": lambda t, o: Product(t),
    "max": lambda t, o: Extreme(t, largest=True),
    "min": lambda t, o: Extreme(t, largest=False),
    "bool_and": lambda t, o: Both(t, every=True),
    "bool_or": lambda t, o: Both(t, every=False),
    "listagg": _list_agg,
    "collect": lambda t, o: Collect(t, o.flag("distinct")),
    "merge_map": lambda t, o: MergeMap(t),
    "merge_map_with_keytime": _merge_map_by_time,
    "nested_update": lambda t, o: NestedUpdate(t, o.nested),
    "nested_partial_update": lambda t, o: NestedPartialUpdate(t, o.nested),
    "rbm32": lambda t, o: BitmapUnion(t, wide=False),
    "rbm64": lambda t, o: BitmapUnion(t, wide=True),
}
FUNCTION_NAMES = tuple(_MAKERS)


def function_of(name: str, data_type: DataType, options: TableOptions, column: str) -> Function:
    """The function called ``name`` for this column.

    Raises:
        UnsupportedFeature: no such function here (sketches, plug-ins), or it does not fit.
    """
    maker = _MAKERS.get(name)
    own = ColumnOptions(options, column)
    if maker is None:
        raise UnsupportedFeature(
            "aggregate function is not supported", column=column, function=name
        )
    try:
        made = maker(data_type, own)
    except UnsupportedFeature as error:
        raise error.at(column=column) from error
    if not own.flag("ignore-retract"):
        return made
    if options.flag("aggregation.remove-record-on-delete", default=False):
        raise UnsupportedFeature(
            "ignore-retract contradicts aggregation.remove-record-on-delete",
            option=own.key("ignore-retract"),
        )
    return IgnoreRetract(made)
