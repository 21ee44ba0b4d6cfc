"""How many requests a client had under way, by what a proxy saw of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .proxy import Seen


def kept_in_flight(seen: Sequence[Seen]) -> float:
    """Requests at once that were there for half of the time from the first one's coming to the last
    one's: a few moments of many do not count, nor does what comes when nothing is left to ask.

    0 for fewer than two.
    """
    if len(seen) < 2:
        return 0.0
    begun = np.sort([one.begun for one in seen])
    ended = np.sort([one.begun + one.seconds for one in seen])
    times = np.unique(np.concatenate([begun, ended[ended < begun[-1]]]))
    at_once = np.searchsorted(begun, times, "right") - np.searchsorted(ended, times, "right")
    rising = np.argsort(at_once[:-1])
    passed = np.cumsum(np.diff(times)[rising])
    return float(at_once[rising][np.searchsorted(passed, passed[-1] / 2)])
