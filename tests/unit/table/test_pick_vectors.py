"""The vectors of the maintenance reference §2.1, which three libraries' own pick code computed."""

from __future__ import annotations

import pytest

from desilt.table.lsm.pick import Growth, PickOptions, RunSize, pick_universal

OPTIONS = {"trigger": 5, "size_amplification_percent": 200, "size_ratio_percent": 1, "max_level": 5}

# Runs newest first as level:size, whether level 0 is forced up, then by growth rule: the rule that
# picks (HEAD's column), how many runs, into which level. "=" is the answer of the column before.
VECTORS = """
0:1 0:1 0:1 0:1                    | no  | nothing                 | =    | =
0:1 0:1 0:1 0:1 0:1                | no  | size-amplification 5 L5 | =    | =
0:1 0:1 0:1 0:1 5:100              | no  | size-ratio 4 L4         | =    | =
0:1 0:50 0:60 0:70 5:1000          | no  | nothing                 | =    | =
0:1 0:50 0:60 0:70 0:80 5:1000     | no  | file-number 5 L4        | 6 L5 | =
0:1 0:5 0:9 3:20 4:100 5:1000      | no  | file-number 3 L2        | 4 L3 | =
0:3 0:3 0:3 1:500 4:600 5:90000    | no  | size-ratio 4 L3         | 4 L1 | =
0:1 0:9 0:90 0:900 2:9000 5:100000 | no  | file-number 4 L1        | 5 L2 | =
0:1 0:1 0:1 2:50 5:9000            | no  | size-ratio 3 L1         | =    | =
0:1 1:2 2:3 3:4 4:5 5:100000       | no  | file-number 5 L4        | =    | =
0:10 1:200                         | yes | up-level-0 2 L5         | =    | =
0:10 5:2000                        | yes | up-level-0 1 L4         | =    | =
0:10 0:10 4:500 5:2000             | yes | up-level-0 2 L3         | =    | =
0:1 1:40 2:41 5:9000               | yes | up-level-0 3 L4         | =    | 2 L1
0:1 1:40 2:42 5:9000               | yes | up-level-0 2 L1         | =    | =
"""


def vectors() -> list[tuple[str, bool, Growth, str]]:
    cases: list[tuple[str, bool, Growth, str]] = []
    for line in VECTORS.strip().splitlines():
        runs, forced, head, newer, older = (cell.strip() for cell in line.split("|"))
        newer = head if newer == "=" else newer
        older = newer if older == "=" else older
        answers = {Growth.HEAD: head, Growth.RELEASE_2_0: newer, Growth.RELEASE_1_4: older}
        cases += [(runs, forced == "yes", growth, answer) for growth, answer in answers.items()]
    return cases


def picked(runs: str, *, forced: bool, growth: Growth) -> str:
    sizes = [RunSize(*map(int, run.split(":"))) for run in runs.split()]
    pick = pick_universal(sizes, PickOptions(**OPTIONS, growth=growth, up_level0=forced))
    if pick is None:
        return "nothing"
    return f"{pick.reason.split(':')[0]} {pick.count} L{pick.output_level}"


@pytest.mark.parametrize(("runs", "forced", "growth", "answer"), vectors())
def test_a_pick_is_what_the_libraries_pick(
    runs: str, forced: bool, growth: Growth, answer: str
) -> None:
    assert picked(runs, forced=forced, growth=growth).endswith(answer)


def test_all_rows_and_columns_are_tested() -> None:
    assert len(vectors()) == 15 * 3
