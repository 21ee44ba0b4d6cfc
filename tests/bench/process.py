"""A worker of the benchmark as its driver sees it: a process that stays, asked by JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self


class Worker:
    """One process. What it logs goes where the driver's own log goes."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **(env or {})},
        )

    def call(self, name: str, **args: Any) -> dict[str, float]:
        """Ask and wait.

        Raises:
            RuntimeError: the process ended instead of answering.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"call": name, **args}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended with code {self._process.wait()} during {name}")
        answer: dict[str, float] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()
