"""Write the tables of the pages that come from stored files: ``make tables``. A test holds the pages to it.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` on its page; NAME is a function's in ``TABLES``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from convbench.core.scales import BYTES, fitting_unit, percent

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "reports"
PAGES = (
    REPORTS / "deploy" / "README.md", REPORTS / "gpu" / "summary.md",
    ROOT / "docs" / "method" / "gate.md", ROOT / "docs" / "method" / "history.md",
    ROOT / "docs" / "method" / "measuring.md", ROOT / "docs" / "method" / "quality.md",
)  # fmt: skip
MARKED = re.compile(r"(?<=<!-- table: )([\w ]+) -->\n.*?(?=\n<!-- end -->)", re.DOTALL)
Lines = Iterator[str]


def read(name: str) -> Any:
    return json.loads((REPORTS / name).read_text())


def rows_of(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (REPORTS / path).read_text().splitlines()]


def line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def gate_figures() -> dict[tuple[str, ...], dict[str, str]]:
    """Return the rows of ``reports/gate/figures.md`` by tool, slowdown and hogs."""
    table = [text.strip("| ").split(" | ") for text in (REPORTS / "gate/figures.md").read_text().splitlines()]
    heading, *body = [cells for cells in table if len(cells) > 1]
    rows = [dict(zip(heading, cells, strict=True)) for cells in body if len(cells) == len(heading)]
    return {(row["tool"], row["put in"], row["hogs a core"]): row for row in rows}


def counted(row: dict[str, str]) -> str:
    return f"{row['red']} of {row['verdicts'].split()[0]}"


def gate_checks() -> Lines:
    yield "| checks of six cases | red | 95 % bounds | s per case, median |"
    yield "|---|--:|--:|--:|"
    for (tool, put_in, hogs), row in gate_figures().items():
        if tool == "convbench":
            low, high = row["95 % bounds"].removesuffix(" %").split(" to ")
            bound = f"up to {high} %" if put_in == "+0 %" else f"from {low} %"
            name = put_in.replace("+0 %", "same code") + (", one CPU hog per core" if hogs == "1" else "")
            yield line(name, counted(row), bound, row["s a case, median"])


def gate_tools() -> Lines:
    figures = gate_figures()
    names = {
        "convbench": "`convbench check`", "tango's rule": "tango-bench's method, paired",
        "pytest-benchmark min": "pytest-benchmark, `min:5%`", "asv": "asv `continuous`",
        "pyperf": "pyperf `compare_to`",
    }  # fmt: skip
    yield "| red, rule of 5 % | on the same code | at +5 % | at +10 % | s per case, each |"
    yield "|---|--:|--:|--:|--:|"
    for tool, name in names.items():
        rows = [figures[tool, put_in, "0"] for put_in in ("+0 %", "+5 %", "+10 %")]
        yield line(name, *map(counted, rows), ", ".join(row["s a case, median"] for row in rows))


def advice() -> Lines:
    stored = read("bench/advice.json")
    figures = [stored["figures"][kinds] for kinds in ("known", "blind")]
    sure_and_wrong = [max(row["sure_and_wrong"] for row in stored[kinds].values()) for kinds in ("known", "blind")]

    def cells(*names: str) -> list[str]:
        return [
            percent(*(of[name] for name in names)).replace("100.0", "100") if of[names[0]] is not None else "–"
            for of in figures
        ]

    yield f"| | goal | {len(stored['known'])} kinds | {len(stored['blind'])} blind kinds |"
    yield "|---|--:|--:|--:|"
    yield line("exact or valid pick, with five seeds or more, if one exists", "93 %", *cells("right"))
    yield line("wrong", "2 %", *cells("wrong"))
    yield line("wrong in the worst kind", "5 %", *cells("most wrong in a kind"))
    yield line("graded sure, but wrong, in the worst kind", "", *map(percent, sure_and_wrong)).replace("|  |", "| |")
    unsure = cells("most sure where nothing may be")
    yield line("graded sure where no answer may be sure, in the worst kind", "5 %", *unsure)
    for bounds in ("means", "gains"):
        ends = cells(f"least {bounds} that hold", f"most {bounds} that hold")
        yield line(f"95 % intervals of {bounds} that hold, by kind", "93 to 97 %", *ends)


def own_clips() -> Lines:
    yield (
        "| clips, seeds | intervals of means that hold, without this variance | with it "
        "| intervals of differences, without it | with it |"
    )
    yield "|---|--:|--:|--:|--:|"
    for row in read("bench/own_clips.json")["rows"]:
        shares = [percent(row[name]) for name in ("means, without", "means", "gaps, without", "gaps")]
        yield line(f"{row['clips']}, {row['seeds']}", *shares)


RUNTIME_VARIANTS = (
    "eager", "channels_last", "compile", "onnxruntime", "openvino", "aot-inductor", "int8", "half(dtype=bf16)",
    "int8+onnxruntime",
)  # fmt: skip
MODELS = ("flatten", "gap", "fc", "hybrid")


def runtimes(scenario: str) -> Lines:
    """Return latency and error of each model by variant, and what exporting gap costs."""
    table = pd.read_csv(REPORTS / "deploy/results.csv").query("scenario == @scenario").set_index(["variant", "reducer"])
    yield (
        "| variant | flatten 131,072 | gap 32 | fc 128 | hybrid 64 | export s | load s | on disk | grows by |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for variant in RUNTIME_VARIANTS:
        rows, gap = table.loc[variant], table.loc[variant, "gap"]
        times = [f"{1e3 * rows.latency_s_median[name]:.3g}" for name in MODELS]
        errors = ["" if pd.isna(error) else f" ({error:.0e})" for error in rows.parity_relative[list(MODELS)]]
        cells = [
            time + error.replace("e-0", "e-").replace("0e+00", "0") for time, error in zip(times, errors, strict=True)
        ]
        costs = [gap.export_s, gap.load_s, gap.exported_bytes, gap.runtime_peak_bytes]
        words = [f"{value:.2g}" for value in costs[:2]] + [_size(value) for value in costs[2:]]
        yield line(variant, *cells, *("–" if pd.isna(cost) else word for cost, word in zip(costs, words, strict=True)))


def _size(value: float) -> str:
    if pd.isna(value):
        return ""
    factor, unit = fitting_unit(value, BYTES)
    return f"{value / factor:.3g} {unit}"


def scripts() -> Lines:
    yield "| case | ours, ms | held | free |"
    yield "|---|--:|--:|--:|"
    for row in read("deploy/bench.json")["rows"]:
        _, reducer, size, _, _, variant, scenario, _ = row["case"].split("/")
        held = "{ratio_held:.2f} [{low_held:.2f}, {high_held:.2f}] ({least_held:.2f})".format_map(row)
        free = "{ratio_free:.2f} ({least_free:.2f})".format_map(row) if "ratio_free" in row else "–"
        yield line(f"{variant}, {scenario}, {reducer} {size}", f"{1e3 * row['ours_s']:.3g}", held, free)


def copied(name: str, first: str, left_out: tuple[str, ...] = ()) -> Lines:
    """Return a stored table, found by how it begins, without the rows that the page leaves out."""
    text = (REPORTS / name).read_text()
    rows = text[text.index(first) :].partition("\n\n")[0].splitlines()
    yield from (row.rstrip() for row in rows if not any(words in row for words in left_out))


def gpu_checks() -> Lines:
    yield "| check | agree | farthest off | allowed |"
    yield "|---|--:|--:|--:|"
    for name, checks in pd.DataFrame(rows_of("gpu/checks.jsonl")).groupby("check", sort=False):
        farthest = (checks.ours / checks.theirs - 1).abs().max()
        allowed = percent(checks.within.max(), places=0)
        yield line(name, f"{checks.agrees.sum()} of {len(checks)}", percent(farthest, places=2), allowed)


TABLES: dict[str, Callable[[], Lines]] = {
    "runtimes": lambda: runtimes("inference"), "runtimes streaming": lambda: runtimes("streaming"), "scripts": scripts,
    "gpu checks": gpu_checks, "gate checks": gate_checks, "gate tools": gate_tools,
    "history": lambda: copied("history/changes.md", "| history |", ("at least 1 %", "all on one machine")),
    "history index": lambda: copied("history/changes.md", "| question"),
    "simulated gate": lambda: copied("gate/simulated.md", "| noise |"),
    "coverage": lambda: copied("repeat/coverage.md", "| processes |"),
    "advice": advice, "own clips": own_clips,
}  # fmt: skip


def with_tables(text: str) -> str:
    """Return the page with each marked table as the stored files have it."""
    return MARKED.sub(lambda mark: f"{mark[1]} -->\n" + "\n".join(TABLES[mark[1]]()), text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_tables(page.read_text()))
