"""What `policies/` adds to the error tree of `table/errors.py`, named after what to do next.

DesiltError
├── PolicyError        a policy or plug-in failed: ignore its verdicts, count it, name it
└── PolicyConfigError  edit the policy's settings; the daemon names the file and the place
"""

from __future__ import annotations

from ..table.errors import DesiltError


class PolicyError(DesiltError):
    """A policy cannot be loaded, raised, or answered with what is no verdict.

    Args:
        message: what happened, lower case, no full stop.
        context: values that say which policy, bucket or column; appended as ``key=value``.
    """

    def __init__(self, message: str, **context: object) -> None:
        self.message = message
        self.context = context
        super().__init__(", ".join([message, *(f"{k}={v}" for k, v in context.items())]))


class PolicyConfigError(DesiltError):
    """The settings of a policy, or its pattern, cannot be used; ``str`` reads ``key: problem``.

    Args:
        key: which setting, relative to the policy (``kind``, ``trigger``, ``match``); "" for all.
        problem: what is wrong, lower case, no full stop.
    """

    def __init__(self, key: str, problem: str) -> None:
        self.key = key
        self.problem = problem
        super().__init__(": ".join(part for part in (key, problem) if part))
