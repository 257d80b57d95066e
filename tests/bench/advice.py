"""Test the advice on invented runs whose truth is known: right, wrong and sure answers, and whether bounds hold.

``python tests/bench/advice.py [runs [kind, ...]]`` prints a line per kind and writes ``reports/bench/advice.json``. If
kinds are named, only these are run, and the stored results of the other kinds stay. Nothing is timed.
The ``blind`` kinds were written before the last changes to the method and run once, after these changes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import invented

RUNS = 400
START = 2026
"""Start of the random numbers, which was not used in development."""

OUT = Path("reports/bench/advice.json")
KNOWN = [name for name in invented.ALL if name not in invented.BLIND]
HEAD = f"{'kind':<32} exact valid wrong  none  sure  sure&wrong  means gains bounds rates"


Rows = dict[str, dict[str, float | None]]


def share(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def row(tally: invented.Tally) -> dict[str, float | None]:
    """Return the share of each kind of answer, and the shares of the stated 95 % bounds that hold."""
    counts = {name: value for name, value in asdict(tally).items() if isinstance(value, int) and name != "runs"}
    shares = {name: round(value / tally.runs, 4) for name, value in counts.items()}
    return {**shares, **{name: share(getattr(tally, name)) for name in ("means", "gains", "bounds", "rates")}}


def line(name: str, of: dict[str, float | None]) -> str:
    cells = [f"{100 * value:5.1f}" if value is not None else "    –" for value in of.values()]
    return f"{name:<32} {' '.join(cells)}"


def overall(rows: Rows) -> dict[str, float | None]:
    """Return the issue's figures, over the kinds with a valid pick and five seeds, and over all kinds."""
    able = [of for name, of in rows.items() if name not in (*invented.NO_ANSWER, *invented.FEW_SEEDS)]
    wrong = [of["wrong"] or 0.0 for of in rows.values()]
    figures = {
        "right": share([(of["exact"] or 0.0) + (of["valid"] or 0.0) for of in able]),
        "wrong": share(wrong),
        "most wrong in a kind": max(wrong, default=None),
        "most sure where nothing may be": max(
            (of["sure"] or 0.0 for name, of in rows.items() if name in invented.UNSURE), default=None
        ),
    }
    for bounds in ("means", "gains", "bounds"):
        hold = [value for of in rows.values() if (value := of[bounds]) is not None]
        figures |= {f"{end} {bounds} that hold": of(hold, default=None) for end, of in (("least", min), ("most", max))}
    return figures


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    stored = json.loads(OUT.read_text()) if OUT.exists() and sys.argv[2:] else {}
    print(HEAD)
    rows = {**stored.get("known", {}), **stored.get("blind", {})}
    for name in sys.argv[2:] or invented.ALL:
        rows[name] = row(invented.tally(invented.ALL[name], runs, START))
        print(line(name, rows[name]), flush=True)
    known, blind = ({name: rows[name] for name in kinds if name in rows} for kinds in (KNOWN, invented.BLIND))
    figures = {"known": overall(known), "blind": overall(blind)}
    print(json.dumps(figures, indent=1))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"runs": runs, "figures": figures, "known": known, "blind": blind}, indent=1) + "\n")


if __name__ == "__main__":
    main()
