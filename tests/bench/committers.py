"""Many committers on one table of an object store, for as long as asked; what they got through.

Run it with `make committers SECONDS=60`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from support.committers import Crew, order_of
from support.s3_stores import impatient
from support.servers import rgw

from desilt.table.catalog import Catalog
from desilt.table.storage.s3 import S3Storage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--committers", type=int, default=5, help="of each process")
    arguments = parser.parse_args()
    with rgw() as server, tempfile.TemporaryDirectory() as folder:
        bucket, options = server.fresh_bucket(), impatient(server, attempts=8)
        catalog = Catalog(f"s3://{bucket}/wh", storage=S3Storage(bucket, options))
        table = catalog.create_table("db.t", {"n": "INT", "v": "STRING"})
        crew = Crew(table.path, options, Path(folder), arguments.processes, arguments.committers)
        processes = crew.start()
        crew.begin()
        time.sleep(arguments.seconds)
        acknowledged = len(crew.log().acknowledged)
        crew.stop()
        for process in processes:
            process.join()
        log = crew.log()
        where = {commit: snapshot.id for commit, snapshot in order_of(table)}
        assert where == log.acknowledged, "what was acknowledged is not what is there"
        print(f"{acknowledged / arguments.seconds:.1f} commits/s, {log.share:.1%} acknowledged")
        print(f"{log.refused} refused, {log.unknown} unknown")
        print("commits by lost races:", dict(sorted(Counter(log.races).items())))


if __name__ == "__main__":
    main()
