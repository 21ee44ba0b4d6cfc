"""Time zones as Java names them: ``Asia/Shanghai``, ``UTC``, ``Z``, ``GMT+8``, ``+08:00``.

Reference class ``java.time.ZoneId``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from .errors import UnsupportedFeature

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_OFFSET = re.compile(r"(?:UTC|GMT|UT)?([+-])(\d{1,2})(?::?(\d{2}))?(?::?(\d{2}))?", re.ASCII)
_NONE = frozenset({"Z", "UTC", "GMT", "UT"})


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone."""

    info: tzinfo

    def local_millis(self, epoch_millis: int) -> int:
        """What the wall clock shows there at that time, counted as if it showed UTC."""
        moment = (_EPOCH + timedelta(milliseconds=epoch_millis)).astimezone(self.info)
        offset = moment.utcoffset() or timedelta()
        return epoch_millis + offset // _MILLISECOND


def parse_zone(text: str, key: str) -> Zone:
    """The zone.

    Raises:
        UnsupportedFeature: nobody knows it, or this machine has no time zones.
    """
    text = text.strip()
    if text in _NONE:
        return Zone(UTC)
    match = _OFFSET.fullmatch(text)
    try:
        if match is None:
            return Zone(ZoneInfo(text))
        hours, minutes, seconds = (int(part or 0) for part in match.groups()[1:])
        offset = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        return Zone(timezone(offset if match[1] == "+" else -offset))
    except (ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise UnsupportedFeature("unknown time zone", option=key, value=text) from error
    except KeyError as error:
        raise UnsupportedFeature("unknown time zone", option=key, value=text) from error
