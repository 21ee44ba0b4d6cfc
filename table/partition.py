"""The text of a partition: its directory, and the label people read.

Directory names are informative only, the truth is the row in the manifest; but every reader builds
the path from that row, so the text must be exactly what Java makes of it.

Spec: format §1.3; reference classes ``InternalRowPartitionComputer``, ``PartitionPathUtils``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from decimal import Decimal

from .datatypes import BYTES, FLOATS, TIMESTAMPS, DataType, Root
from .errors import UnsupportedFeature
from .row import Instant

DEFAULT_NAME = "__DEFAULT_PARTITION__"

_ESCAPED = frozenset([*map(chr, range(0x20)), "\x7f", *"\"#%'*/:=?\\{}[]^"])
# What Java's Character.isWhitespace says yes to: no non-breaking blanks.
WHITE = frozenset(
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \u1680\u2028\u2029\u205f\u3000"
    + "".join(chr(c) for c in range(0x2000, 0x200B) if c != 0x2007)
)
_MILLIS_PER_DAY = 86_400_000
# Java 17 and the shortest digits agreed on 780,000 random floats and 800,000 doubles below these
# limits, and disagreed on every fourth float and some doubles above.
_ALIKE_BELOW = {Root.FLOAT: 2.0**24, Root.DOUBLE: 2.0**53}


def partition_path(
    values: Sequence[object],
    keys: Sequence[str],
    types: Sequence[DataType],
    *,
    default_name: str = DEFAULT_NAME,
    legacy: bool = True,
) -> str:
    """The partition's directory below the table, ``dt=a/hr=1``, without slashes at its ends.

    Args:
        values: one per key, in the forms of `row`.
        keys: partition columns in the schema's order; empty gives ``""``.
        types: of the keys.
        default_name: for null and for text that is empty or only white space.
        legacy: the option ``partition.legacy-name``: the internal value's text (a date is a day
            number) instead of the text that a cast to STRING gives.

    Raises:
        UnsupportedFeature: a value whose text depends on the process that writes it: bytes,
            TIMESTAMP_LTZ when not legacy (Java takes its own time zone), and FLOAT from 2**24,
            DOUBLE from 2**53 on (Java before 19 prints other digits than later ones).
    """
    parts = zip(keys, values, types, strict=True)
    return "/".join(
        f"{escape(key)}={escape(_value_text(value, data_type, default_name, legacy=legacy))}"
        for key, value, data_type in parts
    )


def partition_label(
    values: Sequence[object], keys: Sequence[str], types: Sequence[DataType]
) -> str:
    """`partition_path` with the default options, to name a partition in facts and messages."""
    return partition_path(values, keys, types)


def value_texts(value: object, data_type: DataType) -> tuple[str, ...]:
    """How people write a value that is not null: as Java's ``toString`` has it, and as a cast does.

    Raises:
        UnsupportedFeature: as `partition_path`.
    """
    text = java_text(value, data_type)
    try:
        return text, _cast_text(value, data_type)
    except UnsupportedFeature:
        return (text,)


def escape(text: str) -> str:
    """The text with what a path cannot hold as ``%XX``; blanks and non-ASCII stay."""
    return "".join(f"%{ord(c):02X}" if c in _ESCAPED else c for c in text)


def _value_text(value: object, data_type: DataType, default_name: str, *, legacy: bool) -> str:
    if value is None:
        return default_name
    text = java_text(value, data_type) if legacy else _cast_text(value, data_type)
    return default_name if all(c in WHITE for c in text) else text


def java_text(value: object, data_type: DataType) -> str:
    """Java's ``toString`` of the internal value: a date is a day number.

    Raises:
        UnsupportedFeature: as `partition_path`.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if data_type.root in FLOATS and isinstance(value, float):
        if math.isfinite(value) and abs(value) >= _ALIKE_BELOW[data_type.root]:
            raise UnsupportedFeature("partition value has no stable text", value=value)
        return java_float_text(value, single=data_type.root is Root.FLOAT)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Instant):
        return _local_date_time(value)
    if data_type.root in BYTES:
        raise UnsupportedFeature("partition column has no stable text", type=data_type)
    return str(value)


def _cast_text(value: object, data_type: DataType) -> str:
    """Java's cast to STRING; differs from the other text for dates and times only."""
    root = data_type.root
    if root is Root.DATE and isinstance(value, int):
        return _date(value)
    if root is Root.TIME and isinstance(value, int):
        return _time(value, data_type.precision)
    if root is Root.TIMESTAMP and isinstance(value, Instant):
        return _timestamp(value, data_type.precision)
    if root in TIMESTAMPS | BYTES:
        raise UnsupportedFeature("partition column has no stable text", type=data_type)
    return java_text(value, data_type)


# Dates and times. Python's datetime ends at year 9999 and Paimon's does not.


def _civil(epoch_day: int) -> tuple[int, int, int]:
    """Year, month and day in the proleptic Gregorian calendar, any year.

    Counts years from March, so that the leap day ends a year, in cycles of 400 years = 146097 days.
    """
    era, day_of_era = divmod(epoch_day + 719_468, 146_097)
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = march_month + 3 if march_month < 10 else march_month - 9
    return year + era * 400 + (month <= 2), month, day


def _date(epoch_day: int) -> str:
    year, month, day = _civil(epoch_day)
    # Four digits whatever the year, as Java does here.
    return f"{year % 10_000:04d}-{month:02d}-{day:02d}"


def _time(millis: int, precision: int) -> str:
    """``HH:mm:ss``, then the milliseconds' digits up to ``precision``; one zero stands for none."""
    text = _clock(millis // 1000)
    if precision == 0:
        return text
    digits = f"{millis % 1000:03d}".rstrip("0") or "0"
    return f"{text}.{digits[:precision]}"


def _timestamp(instant: Instant, precision: int) -> str:
    """``yyyy-MM-dd HH:mm:ss`` and at least ``precision`` digits, none for 0."""
    day, seconds, nanos = _split(instant)
    digits = f"{nanos:09d}"
    digits = digits[:precision] + digits[precision:].rstrip("0")
    return f"{_date(day)} {_clock(seconds)}" + (f".{digits}" if digits else "")


def _local_date_time(instant: Instant) -> str:
    """Java's ``LocalDateTime.toString``: zero seconds left out, fraction of 3, 6 or 9 digits."""
    day, seconds, nanos = _split(instant)
    year, month, day_of_month = _civil(day)
    sign = "-" if year < 0 else "+" if year > 9999 else ""
    text = f"{sign}{abs(year):04d}-{month:02d}-{day_of_month:02d}T{_clock(seconds)}"
    if nanos:
        digits = f"{nanos:09d}"
        while digits.endswith("000"):
            digits = digits[:-3]
        return f"{text}.{digits}"
    return text.removesuffix(":00") if seconds % 60 == 0 else text


def _split(instant: Instant) -> tuple[int, int, int]:
    """Days since 1970, seconds of the day, nanoseconds of the second."""
    day, millis = divmod(instant.epoch_millis, _MILLIS_PER_DAY)
    return day, millis // 1000, millis % 1000 * 1_000_000 + instant.nanos_of_milli


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


# Floating point


def java_float_text(number: float, *, single: bool) -> str:
    """Java's ``Float.toString`` (``single``) or ``Double.toString``.

    The shortest digits, but at least two, that read back as the number: as JDK 19 and later give
    (older ones print a digit more for few values). Plain from 1e-3 to below 1e7, else ``d.dE±n``.
    """
    if math.isnan(number):
        return "NaN"
    sign = "-" if math.copysign(1.0, number) < 0 else ""
    if math.isinf(number):
        return f"{sign}Infinity"
    if number == 0:
        return f"{sign}0.0"
    digits, exponent = _shortest(abs(number), single=single)
    if -3 <= exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    if 0 <= exponent < 7:
        padded = digits.ljust(exponent + 2, "0")
        return f"{sign}{padded[: exponent + 1]}.{padded[exponent + 1 :]}"
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


def _shortest(number: float, *, single: bool) -> tuple[str, int]:
    """Digits without trailing zeros, and the decimal exponent of the first."""
    text = _shortest_single(number) if single else _shortest_double(number)
    _, digits, exponent = Decimal(text).normalize().as_tuple()
    assert isinstance(exponent, int)
    return "".join(map(str, digits)), exponent + len(digits) - 1


def _shortest_double(number: float) -> str:
    # Two digits may be nearer than one: the smallest double is 4.9E-324, not 5E-324.
    two_digits = f"{number:.1e}"
    return two_digits if float(two_digits) == number else repr(number)


def _shortest_single(number: float) -> str:
    """The fewest digits (at least two) that read back as the same 32-bit number; nine always do."""
    for digit_count in range(2, 9):
        text = f"{number:.{digit_count - 1}e}"
        if _as_single(float(text)) == number:
            return text
    return f"{number:.8e}"


def _as_single(number: float) -> float:
    """The nearest 32-bit number."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return math.inf
