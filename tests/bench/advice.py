"""The advice's figures to reach, on invented runs whose truth is known: right, wrong, sure, and whether bounds hold.

``python tests/bench/advice.py [runs]`` prints a line a kind and writes ``reports/bench/advice.json``. Nothing is timed.
The kinds that are ``blind`` were written before the last changes to the method and run once, after them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import invented

RUNS = 400
START = 2026
"""Of the random numbers: none that anything was developed with."""

OUT = Path("reports/bench/advice.json")
HEAD = f"{'kind':<32} exact valid wrong  none  sure  sure&wrong  means gains bounds rates"


def share(held: list[bool]) -> float | None:
    return round(sum(held) / len(held), 4) if held else None


def row(found: invented.Tally) -> dict[str, float | None]:
    """Shares of the answers, and of the stated 95 % bounds that hold."""
    counts = {name: value for name, value in asdict(found).items() if isinstance(value, int) and name != "runs"}
    shares = {name: round(value / found.runs, 4) for name, value in counts.items()}
    return {**shares, **{name: share(getattr(found, name)) for name in ("means", "gains", "bounds", "rates")}}


def line(name: str, of: dict[str, float | None]) -> str:
    cells = [f"{100 * value:5.1f}" if value is not None else "    –" for value in of.values()]
    return f"{name:<32} {' '.join(cells)}"


def overall(rows: dict[str, dict[str, float | None]]) -> dict[str, float]:
    """The issue's figures: over kinds in which a valid pick exists and five seeds were run, and over all."""
    few = ("two seeds", "three seeds", "three seeds, one lost each", "three seeds, one noisy", "four seeds, two noisy",
           "near the ceiling, four seeds", "three seeds, half noisy", "four seeds, heavy tails, one noisy",
           "lost and collapsing, four seeds")  # fmt: skip
    able = [of for name, of in rows.items() if name not in (*invented.NO_ANSWER, *few)]
    right = sum((of["exact"] or 0) + (of["valid"] or 0) for of in able) / len(able)
    wrong = [of["wrong"] or 0 for of in rows.values()]
    sure = [of["sure"] or 0 for name, of in rows.items() if name in invented.UNSURE]
    return {"right": right, "wrong": sum(wrong) / len(wrong), "most wrong in a kind": max(wrong),
            "most sure where nothing may be": max(sure)}  # fmt: skip


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    print(HEAD)
    known = rows_of({**invented.KINDS, **invented.HELD_OUT, **invented.SEEN}, runs)
    blind = rows_of(invented.BLIND, runs)
    figures = {"known": overall(known), "blind": overall(blind)}
    print(json.dumps(figures, indent=1))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"runs": runs, "figures": figures, "kinds": known, "blind": blind}, indent=1) + "\n")


def rows_of(kinds: invented.Kinds, runs: int) -> dict[str, dict[str, float | None]]:
    """A row for each kind, printed as it comes; from random numbers of this bench's own."""
    rows = {}
    for name, kind in kinds.items():
        rows[name] = row(invented.tally(kind, runs, START))
        print(line(name, rows[name]), flush=True)
    return rows


if __name__ == "__main__":
    main()
