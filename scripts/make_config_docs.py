"""Write docs/configuration.md from the configuration's own classes and docstrings.

python scripts/make_config_docs.py           writes the page
python scripts/make_config_docs.py --check   exits 1 when the page is not up to date
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from desilt.daemon.config import (
    BudgetsConfig,
    Config,
    ExecutorConfig,
    LogsConfig,
    PolicyConfig,
    ScanInterval,
    SchedulerConfig,
    ServerConfig,
    SnapshotsConfig,
)
from desilt.daemon.config_catalog import CatalogConfig, S3Config
from desilt.daemon.units import Duration, Size
from desilt.policies.registry import BUILT_INS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"

NAMES: dict[object, str] = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true or false",
}

SECTIONS: tuple[tuple[str, type[msgspec.Struct]], ...] = (
    ("", Config),
    ("catalogs[]", CatalogConfig),
    ("catalogs[].s3", S3Config),
    ("policies[]", PolicyConfig),
    ("policies[].snapshots", SnapshotsConfig),
    ("scheduler", SchedulerConfig),
    ("scheduler.budgets", BudgetsConfig),
    ("executor", ExecutorConfig),
    ("server", ServerConfig),
    ("logs", LogsConfig),
)

# Where a key that is not given says nothing of tables.
OPTIONAL = (CatalogConfig, S3Config)

INTRO = """\
# Configuration

<!-- Made by scripts/make_config_docs.py from daemon/config*.py; edit there. -->

One YAML file, given to `desilt run -c FILE`. `desilt check-config FILE` checks it, prints it with
every default filled in, and exits 0, or 2 with the file, the key and the problem. A key that is not
on this page is an error. [examples/desilt.yaml](../examples/desilt.yaml) is a file to start from.

Durations are texts such as `500ms`, `5s`, `2m`, `1h`, `1d`; sizes are `512MiB`, `1GiB` (`B`, `KiB`,
`MiB`, `GiB`, `TiB`).
"""

POLICIES = """\
## Kinds of policies

The keys beside `kind` under `policies[].compaction`. An installed package adds kinds by an entry
point of the group `desilt.policies`.
"""


def main() -> int:
    """Write the page, or compare it with ``--check``."""
    text = page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.exists() and PAGE.read_text() == text else 1
    PAGE.write_text(text)
    return 0


def page() -> str:
    """The whole page."""
    parts = [INTRO]
    for path, struct in SECTIONS:
        parts += [
            f"## {f'`{path}`' if path else 'The file'}\n",
            table(struct, inspect.getsource(sys.modules[struct.__module__])),
        ]
    parts.append(POLICIES)
    for kind, policy in sorted(BUILT_INS.items()):
        module = inspect.getmodule(policy)
        assert module is not None
        about = inspect.getdoc(policy) or ""
        parts += [f"### `{kind}`\n", f"{about}\n", table(policy.Config, inspect.getsource(module))]
    return "\n".join(parts).rstrip() + "\n"


def table(struct: type[msgspec.Struct], source: str) -> str:
    """One row per field: key, type, default, meaning."""
    meanings = docstrings(struct.__name__, source)
    hints = get_type_hints(struct, include_extras=True)
    rows = ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
    for field in msgspec.structs.fields(struct):
        meaning = meanings[field.name]  # a field without a docstring fails here, and should
        kind = kind_of(hints[field.name])
        absent = field.default is None and kind == "section, below"
        absent = absent or (field.default is None and struct in OPTIONAL)
        default = "absent" if absent else default_of(field)
        row = (f"`{field.encode_name}`", kind, default, meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(rows) + "\n"


def docstrings(name: str, source: str) -> dict[str, str]:
    """Field → the docstring right under it."""
    tree = ast.parse(textwrap.dedent(source))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    found: dict[str, str] = {}
    for field, below in pairwise(body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found


def kind_of(hint: Any) -> str:
    """What the user writes, in a few words."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return "section, below"
    if hint is Size:
        return "size"
    if hint is Duration:
        return "duration"
    if hint is ScanInterval:
        return "duration or cron"
    inner = get_args(hint)
    origin: object = getattr(hint, "__origin__", None)  # pyright: ignore[reportUnknownArgumentType]
    if origin is tuple:
        return "list of texts" if inner[0] is str else "list, below"
    if origin is dict:
        return "`kind` and its keys"
    for base, name in NAMES.items():
        if origin is base:  # Annotated
            return name
    if inner and all(isinstance(choice, str) for choice in inner):
        return " or ".join(f"`{choice}`" for choice in inner)
    if inner:  # optional
        return kind_of(next(choice for choice in inner if choice is not type(None)))
    return NAMES[hint]


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """The default as it would be written; a dash where the key must be given."""
    if field.default is msgspec.NODEFAULT:
        return "required"
    if isinstance(field.default, msgspec.Struct):
        return "see below"
    if field.default is None:
        return "the table's own"
    if isinstance(field.default, ScanInterval):
        return f"`{field.default.when}`"
    return f"`{field.default}`"


if __name__ == "__main__":
    sys.exit(main())
