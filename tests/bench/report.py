"""Measure the report's size and how fast it is made, drawn and filtered in headless Chromium.

``python tests/bench/report.py`` prints a line per figure with its goal and writes ``reports/bench/report.json``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
REPEATS = 5
OUT = Path("reports/bench/report.json")
LARGE = {"size_kib": 1024, "made_s": 5, "drawn_ms": 700, "filter_median_ms": 50, "filter_worst_ms": 50}
REPORTS = {
    "default suite": ("records.default_records()", {"size_kib": 300, "drawn_ms": 400, "filter_worst_ms": 50}),
    "5,000 cases": ("records.many(5000)", LARGE),
    "5,000 cases of one variant": ("records.many(5000, ['eager'])", LARGE),
}
MAKE = """
import sys, time
sys.path.insert(0, {tests!r})
import records
from pathlib import Path
run_records = {expression}
run = records.run_of(run_records)
start = time.perf_counter()
from convbench.report.page import run as page
page.write(run, run_records, Path({path!r}))
print(time.perf_counter() - start)
"""
DRAWN = """() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"""
TOGGLE = """(selector) => new Promise(done => {
  const chip = document.querySelector(selector), start = performance.now();
  chip.click();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""
SELECT = """(value) => new Promise(done => {
  const select = document.querySelector('select[data-filter=variant]'), start = performance.now();
  select.value = value;
  select.dispatchEvent(new Event('change'));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""


def make(expression: str, path: Path) -> float:
    """Return the seconds to make a report in a fresh process, including the report's imports."""
    code = MAKE.format(tests=str(Path(__file__).parents[1]), expression=expression, path=str(path))
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def drawn(browser: Browser, path: Path) -> float:
    """Return the median milliseconds, over several loads, from the start of navigation to the first full frame."""
    times = []
    for _ in range(REPEATS):
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(path.as_uri())
        times.append(page.evaluate(DRAWN))
        page.close()
    return statistics.median(times)


def toggled(browser: Browser, path: Path) -> list[float]:
    """Return the milliseconds from a click on a chip to the next frame: each reducer off and on, all points in view."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(path.as_uri())
    page.evaluate(DRAWN)
    if page.locator("select[data-filter=variant]").count():
        page.evaluate(SELECT, "")
    chips = [f".chip[data-series='{i}']" for i in range(page.locator(".chip").count())]
    page.evaluate(TOGGLE, chips[0])
    times = [page.evaluate(TOGGLE, chip) for chip in chips for _ in range(2)]
    page.close()
    return times


def figures(browser: Browser, expression: str, path: Path) -> dict[str, float]:
    """Return all figures of one report."""
    took = make(expression, path)
    times = toggled(browser, path)
    return {
        "size_kib": path.stat().st_size / 1024,
        "made_s": took,
        "drawn_ms": drawn(browser, path),
        "filter_median_ms": statistics.median(times),
        "filter_worst_ms": max(times),
    }


def main() -> None:
    measured = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        path = Path(folder) / "index.html"
        figures(browser, "[records.record()]", path)
        for name, (expression, goals) in REPORTS.items():
            measured[name] = figures(browser, expression, path)
            for figure, value in measured[name].items():
                missed = value > goals.get(figure, value)
                print(f"{name:<28} {figure:<18} {value:8.1f}  goal {goals.get(figure, '-'):>6} {'  MISSED' * missed}")
        browser.close()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
