"""Text to local date and time, as Java's ``DateTimeFormatter`` and ``LocalDateTime`` read it.

A moment is a number of nanoseconds since 1970-01-01T00:00 on the local wall clock, of any size:
Python's datetime ends at year 9999 and Java's does not.

Two ways to read a text: by a pattern (``yyyyMMdd HH``; impossible days of a month become its last
one), or without any, as Paimon does it (``yyyy-M-d``, ``yyyy-M-d H:m:s`` with a fraction; what is
too large runs over into the next unit).

Spec: reference class ``PartitionTimeExtractor``; JDK 17 ``java.time.format``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .errors import UnsupportedFeature

NANOS_PER_DAY = 86_400_000_000_000
_NANOS_PER_SECOND = 1_000_000_000
_YEAR_MAX = 999_999_999
_LONG_DIGITS = 19

Field = Literal["year", "era-year", "month", "day", "hour", "minute", "second", "nano"]
Sign = Literal["normal", "not-negative", "exceeds-pad"]

_FIELDS: dict[str, Field] = {
    "y": "era-year", "u": "year", "M": "month", "L": "month", "d": "day", "H": "hour",
    "m": "minute", "s": "second", "S": "nano",
}  # fmt: skip
_RANGES: dict[Field, tuple[int, int]] = {
    "year": (-_YEAR_MAX, _YEAR_MAX), "era-year": (1, _YEAR_MAX), "month": (1, 12), "day": (1, 31),
    "hour": (0, 23), "minute": (0, 59), "second": (0, 59), "nano": (0, _NANOS_PER_SECOND - 1),
}  # fmt: skip
_TIME_FIELDS = frozenset({"hour", "minute", "second", "nano"})


class _Unreadable(Exception):
    """The text is not what the pattern says."""


# --- the pieces of a pattern ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Literal:
    text: str


@dataclass(frozen=True, slots=True)
class _Number:
    """Digits of one field. ``reserved``: digits that numbers just behind it take of those found;
    None: it takes neither more nor fewer than its own, as the numbers before it must."""

    field: Field
    least: int
    most: int
    sign: Sign
    reserved: int | None = 0
    reduced: bool = False

    @property
    def fixed(self) -> bool:
        return self.least == self.most and self.sign == "not-negative"


@dataclass(frozen=True, slots=True)
class _Optional:
    pieces: tuple[_Piece, ...]


@dataclass(frozen=True, slots=True)
class _Fraction:
    """A point and one to nine digits of a second."""


_Piece = _Literal | _Number | _Optional | _Fraction


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """A pattern, understood; ``lenient``: what is too large runs over into the next unit."""

    pieces: tuple[_Piece, ...]
    lenient: bool = False

    @staticmethod
    def of(pattern: str, option: str) -> TimeFormat:
        """The format that a pattern of ``DateTimeFormatter.ofPattern`` means.

        Raises:
            UnsupportedFeature: a letter that is not known here, or a pattern that Java refuses.
        """
        try:
            return TimeFormat(_compiled(iter(_tokens(pattern)), inside=False))
        except ValueError as error:
            raise UnsupportedFeature(
                f"time pattern is not supported: {error}", option=option, value=pattern
            ) from None

    def moment(self, text: str) -> int | None:
        """Nanoseconds on the wall clock; None for a text that is no date in this format.

        A time without a date is none; a date without a whole time is its midnight.
        """
        found: dict[Field, int] = {}
        try:
            end = _parse(self.pieces, text, 0, found)
            if end != len(text):
                return None
            return _resolved(found, lenient=self.lenient)
        except _Unreadable:
            return None


_TOKEN = re.compile(
    r"(?P<quoted>'(?:[^']|'')*')|(?P<letters>([A-Za-z])\3*)|(?P<other>.)", re.DOTALL
)


def _tokens(pattern: str) -> list[tuple[str, str]]:
    """(kind, text): letters of one kind, literals, brackets."""
    tokens: list[tuple[str, str]] = []
    for match in _TOKEN.finditer(pattern):
        if (quoted := match["quoted"]) is not None:
            tokens.append(("literal", "'" if quoted == "''" else quoted[1:-1].replace("''", "'")))
        elif (letters := match["letters"]) is not None:
            tokens.append(("letters", letters))
        elif match["other"] in "[]":
            tokens.append((match["other"], match["other"]))
        elif match["other"] in "{}#'":
            raise ValueError(f"{match['other']} has no meaning")
        else:
            tokens.append(("literal", match["other"]))
    return tokens


def _compiled(tokens: Iterator[tuple[str, str]], *, inside: bool) -> tuple[_Piece, ...]:
    """Pieces up to the closing bracket, or to the end; a section may stay open there, as in Java.

    Numbers side by side share out the digits: all but the first have fixed widths, or end the
    sharing.
    """
    pieces: list[_Piece] = []
    active: int | None = None  # the number that gives digits to those behind it
    for kind, text in tokens:
        match kind:
            case "letters":
                active = _append(pieces, active, _number(text))
            case "[":
                pieces.append(_Optional(_compiled(tokens, inside=True)))
                active = None
            case "]":
                if not inside:
                    raise ValueError("] without [")
                return tuple(pieces)
            case _:
                pieces.append(_Literal(text))
                active = None
    return tuple(pieces)


def _append(pieces: list[_Piece], active: int | None, number: _Number) -> int:
    """Put a number behind the others; which one gives digits from now on."""
    if active is None:
        pieces.append(number)
        return len(pieces) - 1
    giver = pieces[active]
    assert isinstance(giver, _Number)
    if number.fixed:
        pieces[active] = replace(giver, reserved=(giver.reserved or 0) + number.most)
        pieces.append(replace(number, reserved=None))
        return active
    pieces[active] = replace(giver, reserved=None)
    pieces.append(number)
    return len(pieces) - 1


def _number(letters: str) -> _Number:
    letter, count = letters[0], len(letters)
    field = _FIELDS.get(letter)
    if field is None:
        raise ValueError(f"letter {letter}")
    if field == "nano":
        if count > 9:
            raise ValueError(f"{letters} has too many letters")
        return _Number(field, count, count, "not-negative")
    if field in ("year", "era-year"):
        if count == 2:
            return _Number(field, 2, 2, "not-negative", reduced=True)
        if count > _LONG_DIGITS:
            raise ValueError(f"{letters} has too many letters")
        return _Number(field, count, _LONG_DIGITS, "normal" if count < 4 else "exceeds-pad")
    if count == 1:
        return _Number(field, 1, _LONG_DIGITS, "normal")
    if count == 2:
        return _Number(field, 2, 2, "not-negative")
    raise ValueError(f"{letters} has too many letters")


def _loose(field: Field, most: int = 2) -> _Number:
    return _Number(field, 1, most, "normal")


_DATE = (
    _loose("year", 10), _Literal("-"), _loose("month"), _Literal("-"), _loose("day"),
)  # fmt: skip
_TIME = (
    _Literal(" "), _loose("hour"), _Literal(":"), _loose("minute"), _Literal(":"),
    _loose("second"), _Optional((_Fraction(),)),
)  # fmt: skip
DEFAULT_FORMAT = TimeFormat((*_DATE, _Optional(_TIME)), lenient=True)
"""What a text without a pattern is held against."""


# --- reading a text -------------------------------------------------------------------------------


def _parse(pieces: Sequence[_Piece], text: str, at: int, found: dict[Field, int]) -> int:
    """Where the text goes on behind these pieces; fields are added to ``found``."""
    for piece in pieces:
        match piece:
            case _Literal():
                if not text.startswith(piece.text, at):
                    raise _Unreadable
                at += len(piece.text)
            case _Number():
                at = _parse_number(piece, text, at, found)
            case _Fraction():
                at = _parse_fraction(text, at, found)
            case _Optional():
                tried = dict(found)
                try:
                    at = _parse(piece.pieces, text, at, tried)
                except _Unreadable:
                    continue
                found.update(tried)
    return at


def _parse_number(piece: _Number, text: str, at: int, found: dict[Field, int]) -> int:
    sign = text[at : at + 1] if text[at : at + 1] in ("+", "-") else ""
    if sign and not (piece.sign == "exceeds-pad" or (piece.sign == "normal" and sign == "-")):
        raise _Unreadable
    if piece.field == "nano" and sign:
        raise _Unreadable
    at += len(sign)
    reserved = piece.reserved or 0
    width = _digits(text, at, piece.most + reserved)
    if reserved:
        width = _digits(text, at, max(piece.least, width - reserved))
    if width < piece.least:
        raise _Unreadable
    value = int(text[at : at + width])
    if sign == "-":
        if value == 0:
            raise _Unreadable
        value = -value
    elif piece.sign == "exceeds-pad" and (width > piece.least) != (sign == "+"):
        raise _Unreadable
    if piece.field == "nano":
        value *= 10 ** (9 - width)
    _put(found, piece.field, value + 2000 if piece.reduced else value)
    return at + width


def _parse_fraction(text: str, at: int, found: dict[Field, int]) -> int:
    width = _digits(text, at + 1, 9)
    if text[at : at + 1] != "." or not width:
        raise _Unreadable
    _put(found, "nano", int(text[at + 1 : at + 1 + width]) * 10 ** (9 - width))
    return at + 1 + width


def _digits(text: str, at: int, most: int) -> int:
    """How many ASCII digits stand here, at most so many."""
    end = at
    while end < min(len(text), at + most) and "0" <= text[end] <= "9":
        end += 1
    return end - at


def _put(found: dict[Field, int], field: Field, value: int) -> None:
    if found.setdefault(field, value) != value:
        raise _Unreadable


# --- from fields to a moment ----------------------------------------------------------------------


def _resolved(found: Mapping[Field, int], *, lenient: bool) -> int:
    unfinished = _unfinished(found)
    for field, value in found.items():
        low, high = _RANGES[field]
        end_of_day = field == "hour" and value == 24
        loose = field != "year" if lenient else unfinished and field in _TIME_FIELDS
        if not low <= value <= high and not end_of_day and not loose:
            raise _Unreadable
    year = found.get("year", found.get("era-year"))
    month, day = found.get("month"), found.get("day")
    if year is None or month is None or day is None or found.get("era-year", year) != year:
        raise _Unreadable
    return _date(year, month, day, lenient=lenient) * NANOS_PER_DAY + _time(found, lenient=lenient)


def _unfinished(found: Mapping[Field, int]) -> bool:
    """An hour and a part of a minute or second, but not what is between. Java makes no time of it
    and looks at none of it again."""
    between = ("minute" in found, "second" in found, "nano" in found)
    return "hour" in found and between in (
        (False, True, False), (False, False, True), (False, True, True), (True, False, True),
    )  # fmt: skip


def _date(year: int, month: int, day: int, *, lenient: bool) -> int:
    """Days since 1970."""
    if lenient:
        more, rest = divmod(month - 1, 12)
        epoch_day = days_from_civil(year + more, rest + 1, 1) + day - 1
        limits = days_from_civil(-_YEAR_MAX, 1, 1), days_from_civil(_YEAR_MAX, 12, 31)
        if not limits[0] <= epoch_day <= limits[1]:
            raise _Unreadable
        return epoch_day
    first = days_from_civil(year, month, 1)
    after = days_from_civil(year + month // 12, month % 12 + 1, 1)
    return min(first + day - 1, after - 1)


def _time(found: Mapping[Field, int], *, lenient: bool) -> int:
    """Nanoseconds of the day; 0 where the text says no whole time."""
    hour = found.get("hour")
    if hour is None or _unfinished(found):
        return 0
    seconds = found.get("minute", 0) * 60 + found.get("second", 0)
    rest = seconds * _NANOS_PER_SECOND + found.get("nano", 0)
    if hour == 24 and rest and not lenient:
        raise _Unreadable
    return hour * 3600 * _NANOS_PER_SECOND + rest


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar, any year.

    Counts years from March, so that the leap day ends a year, in cycles of 400 years = 146097 days.
    """
    shifted = year - (month <= 2)
    era, of_era = divmod(shifted, 400)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
