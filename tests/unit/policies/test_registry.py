"""Kinds, their settings, and what is refused by name."""

from __future__ import annotations

import sys
from datetime import datetime
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import msgspec
import polars as pl
import pytest

from desilt.policies import (
    AmplificationConfig,
    AmplificationPolicy,
    PolicyConfigError,
    PolicyError,
    UniversalConfig,
    UniversalPolicy,
    load_registry,
    policy_from_config,
)
from desilt.policies.registry import GROUP

BUILT_IN = load_registry([])


class LazyConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="lazy", tag_field="kind"
):
    """Settings of a policy that never has anything to do."""


class Lazy:
    Config = LazyConfig

    def __init__(self, config: LazyConfig) -> None:
        self.config = config

    def judge(self, facts: pl.LazyFrame, *, now: datetime) -> pl.LazyFrame:
        return facts


class LooseConfig(msgspec.Struct, tag="lazy", tag_field="kind"):
    pass


class UntaggedConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Fussy(Lazy):
    def __init__(self, config: LazyConfig) -> None:
        raise RuntimeError("not today")


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that entry points can name."""
    module = ModuleType("acme_policies")
    monkeypatch.setitem(sys.modules, "acme_policies", module)
    return module


def point(name: str = "lazy", value: str = "acme_policies:Lazy") -> EntryPoint:
    return EntryPoint(name, value, GROUP)


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        ({"kind": "universal"}, UniversalPolicy()),
        ({"kind": "universal", "trigger": 3}, UniversalPolicy(UniversalConfig(trigger=3))),
        (
            {"kind": "universal", "size-ratio": 2, "max-size-amplification-percent": 50},
            UniversalPolicy(UniversalConfig(size_ratio=2, max_size_amplification_percent=50)),
        ),
        ({"kind": "amplification"}, AmplificationPolicy()),
        (
            {"kind": "amplification", "target": 4},
            AmplificationPolicy(AmplificationConfig(target=4.0)),
        ),
    ],
    ids=str,
)
def test_policy_from_makes_the_policy_of_its_kind(settings: dict[str, Any], policy: object) -> None:
    assert BUILT_IN.policy_from(settings) == policy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "kind: missing; known kinds: amplification, universal"),
        (
            {"kind": "sometimes"},
            "kind: unknown policy 'sometimes'; known kinds: amplification, universal",
        ),
        ({"kind": 7}, "kind: unknown policy 7; known kinds: amplification, universal"),
        ({"kind": "universal", "triger": 3}, "triger: unknown setting"),
        ({"kind": "universal", "size_ratio": 3}, "size_ratio: unknown setting"),
        ({"kind": "universal", "trigger": 1}, "trigger: expected `int` >= 2"),
        ({"kind": "universal", "trigger": "5"}, "trigger: expected `int | null`, got `str`"),
        ({"kind": "universal", "trigger": True}, "trigger: expected `int | null`, got `bool`"),
        ({"kind": "universal", "size-ratio": -1}, "size-ratio: expected `int` >= 0"),
        ({"kind": "amplification", "target": 0}, "target: expected `float` > 0.0"),
        ({"kind": "amplification", "target": "6"}, "target: expected `float`, got `str`"),
        ({"kind": "amplification", "target": float("inf")}, "target must be finite"),
    ],
    ids=str,
)
def test_config_from_names_the_setting_at_fault(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyConfigError) as caught:
        BUILT_IN.config_from(settings)

    assert str(caught.value) == message


def test_config_from_fills_in_the_defaults_for_printing() -> None:
    config = BUILT_IN.config_from({"kind": "amplification"})

    assert msgspec.to_builtins(config) == {"kind": "amplification", "target": 6.0}


def test_registry_holds_the_built_ins_of_the_installed_package() -> None:
    """desilt lists them as entry points, too; that is no duplicate."""
    registry = load_registry()

    assert {"amplification", "universal"} <= set(registry.kinds)
    assert policy_from_config({"kind": "universal"}) == UniversalPolicy()


def test_registry_adds_what_an_entry_point_names(acme: ModuleType) -> None:
    acme.Lazy = Lazy  # type: ignore[attr-defined]

    registry = load_registry([point(), point()])  # the same one twice on the path is one

    assert registry.kinds == ("amplification", "lazy", "universal")
    assert isinstance(registry.policy_from({"kind": "lazy"}), Lazy)


@pytest.mark.parametrize(
    ("names", "points", "message"),
    [
        ({}, [point(value="no_such_module:X")], r"cannot be loaded, kind=lazy.*no_such_module"),
        ({}, [point()], r"cannot be loaded, kind=lazy.*AttributeError"),
        ({"Lazy": 7}, [point()], "no policy, kind=lazy.*not a class"),
        ({"Lazy": UntaggedConfig}, [point()], "no policy, kind=lazy.*not a class with a method"),
        (
            {"Lazy": type("NoConfig", (), {"judge": print})},
            [point()],
            "its Config is no msgspec Struct",
        ),
        ({"Lazy": Lazy}, [point(name="eager")], "kind=eager.*tag='eager', has tag='lazy'"),
        (
            {"Lazy": type("Untagged", (Lazy,), {"Config": UntaggedConfig})},
            [point()],
            "has tag=None",
        ),
        (
            {"Lazy": type("Loose", (Lazy,), {"Config": LooseConfig})},
            [point()],
            "frozen and forbid unknown fields",
        ),
        ({"Lazy": Lazy}, [point(name="universal")], "two policies of one kind, kind=universal"),
        (
            {"Lazy": Lazy, "Other": Lazy},
            [point(), point(value="acme_policies:Other")],
            "kind=lazy, entry_point=acme_policies:Other, other=acme_policies:Lazy",
        ),
    ],
)
def test_registry_names_an_entry_point_that_is_broken_or_doubled(
    acme: ModuleType, names: dict[str, object], points: list[EntryPoint], message: str
) -> None:
    vars(acme).update(names)

    with pytest.raises(PolicyError, match=message):
        load_registry(points)


def test_policy_from_names_a_plug_in_that_refuses_its_settings(acme: ModuleType) -> None:
    acme.Lazy = Fussy  # type: ignore[attr-defined]

    with pytest.raises(PolicyError, match="cannot be made, kind=lazy, error=RuntimeError"):
        load_registry([point()]).policy_from({"kind": "lazy"})
