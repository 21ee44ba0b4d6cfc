"""pypaimon's side of the benchmark; runs in the peer's own environment and imports nothing of ours.

Answers one JSON line per JSON line: ``{"call": "write", "table": path, "rows": parquet file}`` or
``{"call": "read", "table": path}`` → ``{"seconds": …, "rows": …}``. Only the library's own work is
timed: the rows to write are in memory, and a read ends with an Arrow table.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def _open(path: str) -> Any:
    return importlib.import_module("pypaimon.table.file_store_table").FileStoreTable.from_path(path)


def write(args: dict[str, str]) -> dict[str, float]:
    """One commit of all rows of a Parquet file."""
    table = _open(args["table"])
    types = importlib.import_module("pypaimon.schema.data_types").PyarrowFieldParser
    schema = types.from_paimon_schema(table.table_schema.fields)
    rows: pa.Table = pq.read_table(args["rows"]).cast(schema)
    started = time.perf_counter()
    builder = table.new_batch_write_builder()
    writer, committer = builder.new_write(), builder.new_commit()
    writer.write_arrow(rows)
    committer.commit(writer.prepare_commit())
    writer.close()
    committer.close()
    return {"seconds": time.perf_counter() - started, "rows": rows.num_rows}


def read(args: dict[str, str]) -> dict[str, float]:
    """All merged rows as one Arrow table."""
    started = time.perf_counter()
    builder = _open(args["table"]).new_read_builder()
    data = builder.new_read().to_arrow(builder.new_scan().plan().splits())
    return {"seconds": time.perf_counter() - started, "rows": data.num_rows}


def main() -> None:
    """Serve until the input ends; what the library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"write": write, "read": read}[request.pop("call")](request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
