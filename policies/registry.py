"""Kind → policy class: the built-ins, and what installed packages add.

A package adds a policy by an entry point of the group ``desilt.policies``; its name is the kind:

    [project.entry-points."desilt.policies"]
    quiet-hours = "acme_desilt:QuietHours"

The class is called with its settings and has a ``Config``: a msgspec Struct, frozen, that forbids
unknown fields and whose tag, in the field ``kind``, is the entry point's name. Entry points are
code of the operator's own environment; nothing is ever loaded by a name from the YAML alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, cast

import msgspec

from .amplification import AmplificationPolicy
from .api import Policy
from .errors import PolicyConfigError, PolicyError
from .universal import UniversalPolicy

GROUP = "desilt.policies"


class PolicyClass(Protocol):
    """What a policy is made from: call it with an instance of its ``Config``."""

    @property
    def Config(self) -> type[msgspec.Struct]: ...

    def __call__(self, config: Any, /) -> Policy: ...  # each class takes its own Config


BUILT_INS: Mapping[str, PolicyClass] = {
    "amplification": AmplificationPolicy,
    "universal": UniversalPolicy,
}


@dataclass(frozen=True, slots=True)
class Registry:
    """Every known kind; made once by `load_registry` when the service starts."""

    classes: Mapping[str, PolicyClass]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(sorted(self.classes))

    def config_from(self, settings: Mapping[str, object]) -> msgspec.Struct:
        """The typed settings of ``{kind: …, …}``, defaults filled in (for printing, say).

        Raises:
            PolicyConfigError: no or an unknown kind, an unknown or bad setting; names the key.
        """
        struct = self._class(settings).Config
        try:
            return msgspec.convert(dict(settings), struct)
        except msgspec.ValidationError as error:
            raise _config_error(str(error)) from error

    def policy_from(self, settings: Mapping[str, object]) -> Policy:
        """The policy of ``{kind: …, …}``; without a mistake in it the same as calling the class.

        Raises:
            PolicyConfigError: as `config_from`.
            PolicyError: the class refuses its own settings.
        """
        kind, config = self._class(settings), self.config_from(settings)
        try:
            return kind(config)
        except Exception as error:  # a plug-in may raise anything; it is named
            raise PolicyError(
                "policy cannot be made", kind=settings["kind"], error=_brief(error)
            ) from error

    def _class(self, settings: Mapping[str, object]) -> PolicyClass:
        kind, known = settings.get("kind"), ", ".join(self.kinds)
        if kind is None:
            raise PolicyConfigError("kind", f"missing; known kinds: {known}")
        if not isinstance(kind, str) or kind not in self.classes:
            raise PolicyConfigError("kind", f"unknown policy {kind!r}; known kinds: {known}")
        return self.classes[kind]


def load_registry(found: Iterable[EntryPoint] | None = None) -> Registry:
    """Built-ins and entry points.

    Args:
        found: entry points to use; None: those of the installed packages.

    Raises:
        PolicyError: an entry point cannot be loaded, is no policy class, or claims a kind that
            another one has; names it.
    """
    classes = dict(BUILT_INS)
    origin = {name: f"{_module(c)}:{_name(c)}" for name, c in BUILT_INS.items()}
    points = entry_points(group=GROUP) if found is None else found
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        if origin.get(point.name) == point.value:
            continue  # desilt lists its built-ins as entry points too; or found twice on the path
        if point.name in origin:
            raise PolicyError(
                "two policies of one kind",
                kind=point.name,
                entry_point=point.value,
                other=origin[point.name],
            )
        classes[point.name] = _load(point)
        origin[point.name] = point.value
    return Registry(classes)


def policy_from_config(settings: Mapping[str, object], registry: Registry | None = None) -> Policy:
    """The policy of ``{kind: …, …}`` from the YAML; see `Registry.policy_from`."""
    return (registry or load_registry()).policy_from(settings)


def _load(point: EntryPoint) -> PolicyClass:
    try:
        loaded: object = point.load()
    except Exception as error:  # importing somebody's package may raise anything; it is named
        raise PolicyError(
            "entry point cannot be loaded",
            kind=point.name,
            entry_point=point.value,
            error=_brief(error),
        ) from error
    problem = _unfit(loaded, point.name)
    if problem is not None:
        raise PolicyError(
            "entry point is no policy", kind=point.name, entry_point=point.value, problem=problem
        )
    return cast(PolicyClass, loaded)


def _unfit(loaded: object, kind: str) -> str | None:
    """What is missing for ``loaded`` to be a `PolicyClass` of this kind, or None."""
    if not isinstance(loaded, type) or not callable(getattr(loaded, "judge", None)):
        return "not a class with a method judge"
    config: object = getattr(loaded, "Config", None)
    if not isinstance(config, type) or not issubclass(config, msgspec.Struct):
        return "its Config is no msgspec Struct"
    rules = config.__struct_config__
    if rules.tag != kind or rules.tag_field != "kind":
        return f"its Config needs tag_field='kind' and tag={kind!r}, has tag={rules.tag!r}"
    if not rules.frozen or not rules.forbid_unknown_fields:
        return "its Config must be frozen and forbid unknown fields"
    return None


def _config_error(message: str) -> PolicyConfigError:
    """msgspec's message as key and problem: it names the place at the end, or the unknown field."""
    problem, _, place = message.partition(" - at `$.")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL)
    if unknown is not None:
        return PolicyConfigError(unknown[1], "unknown setting")
    return PolicyConfigError(place.rstrip("`"), problem[:1].lower() + problem[1:])


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _module(policy: PolicyClass) -> str:
    return str(getattr(policy, "__module__", ""))


def _name(policy: PolicyClass) -> str:
    return str(getattr(policy, "__qualname__", ""))
