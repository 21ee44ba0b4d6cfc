"""House rules that no linter knows: packages, imports, the root, sizes."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("table", "policies", "daemon")
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
POSITIONAL_MAX = 6
"""Without self. Five are a reason to think, more want a record."""


def modules() -> list[Path]:
    """Every product module."""
    return sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


MODULES = [pytest.param(path, id=relative(path)) for path in modules()]


def test_packages_are_the_folders_that_hold_modules() -> None:
    """One that is not listed is missing in the wheel, silently."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {p.parent for p in modules()}
    found = {".".join(("desilt", *folder.relative_to(ROOT).parts)) for folder in folders}

    assert set(listed) == found | {"desilt"}
    assert all((folder / "__init__.py").exists() for folder in folders)


def test_root_holds_no_module_but_init() -> None:
    """Any other would be swept into the wheel."""
    assert [p.name for p in ROOT.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("path", MODULES)
def test_product_code_imports_itself_relatively(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert all(a.name.partition(".")[0] != "desilt" for a in node.names)
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").partition(".")[0] not in ("desilt", *ROOMS)


def test_type_checkers_see_every_room() -> None:
    links = ROOT / "typings" / "desilt"

    for name in (*ROOMS, "__init__.py"):
        assert (links / name).is_symlink()
        assert (links / name).resolve() == (ROOT / name).resolve()
    assert {p.name for p in links.iterdir()} == {*ROOMS, "__init__.py"}


@pytest.mark.parametrize("path", MODULES)
def test_module_is_not_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", MODULES)
def test_functions_are_not_too_long(path: Path) -> None:
    for function in functions(ast.parse(path.read_text())):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= FUNCTION_LINES_MAX, f"{function.name}: {lines} lines"


@pytest.mark.parametrize("path", MODULES)
def test_functions_take_few_positional_parameters(path: Path) -> None:
    for function in functions(ast.parse(path.read_text())):
        if any(isinstance(d, ast.Call | ast.Attribute) for d in function.decorator_list):
            continue  # a command of the CLI: its parameters are flags
        names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
        count = len([n for n in names if n not in ("self", "cls")])
        flags = path.name.startswith("cmd_") and not function.name.startswith("_")
        assert flags or count <= POSITIONAL_MAX, f"{function.name}: {count} parameters"


@pytest.mark.parametrize("path", MODULES)
def test_module_says_why_it_exists(path: Path) -> None:
    source = path.read_text()

    assert not source.strip() or ast.get_docstring(ast.parse(source))


@pytest.mark.parametrize("path", MODULES)
def test_module_bears_no_name_of_the_standard_library(path: Path) -> None:
    assert path.stem not in sys.stdlib_module_names - {"__main__", "__init__"} or path.stem in (
        "__init__", "__main__",
    )  # fmt: skip


@pytest.mark.parametrize("path", MODULES)
def test_module_has_no_unfinished_business(path: Path) -> None:
    text = path.read_text()

    assert not [word for word in ("TODO", "FIXME", "XXX", "HACK") if word in text]


def test_table_and_policies_know_no_clock_log_or_metric() -> None:
    """The world reaches `table/` through `handle.World` alone; a rewrite only times itself, and
    a store's client waits before it tries again."""
    forbidden = {"logging", "structlog", "prometheus_client", "apscheduler", "datetime.now"}
    clocks = {"table/handle.py", "table/rewrite.py", "table/storage/s3_calls.py"}
    for path in modules():
        if relative(path).startswith("daemon/"):
            continue
        imported = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in _imported(node)
        }  # fmt: skip
        assert not imported & forbidden, relative(path)
        assert "time" not in imported or relative(path) in clocks, relative(path)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [a.name.partition(".")[0] for a in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [(node.module or "").partition(".")[0]]
    return []
