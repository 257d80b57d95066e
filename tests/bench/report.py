"""The report's figures to reach: its size, how fast it is made, drawn and filtered in headless Chromium.

Prints a line a figure with its goal. Run: ``python tests/bench/report.py``
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
import records

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
REPEATS = 5
MAKE = """
import sys, time
sys.path.insert(0, {tests!r})
import records
from pathlib import Path
found = {found}
run = records.run_of(found)
start = time.perf_counter()
from convbench.report import page
page.write(run, found, Path({path!r}))
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


def make(found: str, path: Path) -> float:
    """Seconds to make a report in a fresh process, imports of the report included."""
    code = MAKE.format(tests=str(Path(__file__).parents[1]), found=found, path=str(path))
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def drawn(browser: Browser, path: Path) -> float:
    """Milliseconds from the start of navigation to the first frame with everything in it, median of several loads."""
    times = []
    for _ in range(REPEATS):
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(path.as_uri())
        times.append(page.evaluate(DRAWN))
        page.close()
    return statistics.median(times)


def toggled(browser: Browser, path: Path, everything: bool) -> list[float]:
    """Milliseconds from a click on a chip to the frame that shows it, for each of the reducers, off and on."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(path.as_uri())
    page.evaluate(DRAWN)
    if everything and page.locator("select[data-filter=variant]").count():
        page.evaluate(SELECT, "")
    chips = [f".chip[data-series='{i}']" for i in range(page.locator(".chip").count())]
    page.evaluate(TOGGLE, chips[0])
    times = [page.evaluate(TOGGLE, chip) for chip in chips for _ in range(2)]
    page.close()
    return times


def line(name: str, value: float, goal: float, unit: str) -> None:
    print(f"{name:<58} {value:8.1f} {unit:<4} goal {goal:g} {unit} {'' if value <= goal else '  MISSED'}")


def main() -> None:
    cases = {"default suite": ("records.default_records()", 300, 5, 400),
             "5,000 cases": ("records.many(5000)", 1536, 5, 1500),
             "5,000 cases of one variant": ("records.many(5000, ['eager'])", 1536, 5, 1500)}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        warm = Path(folder) / "warm.html"
        make("records.default_records()", warm)
        drawn(browser, warm)
        for name, (found, kib, seconds, milliseconds) in cases.items():
            path = Path(folder) / "index.html"
            took = make(found, path)
            line(f"{name}: size", path.stat().st_size / 1024, kib, "KiB")
            line(f"{name}: made", took, seconds, "s")
            line(f"{name}: drawn", drawn(browser, path), milliseconds, "ms")
            times = toggled(browser, path, everything=True)
            line(f"{name}: a filter toggles (all points shown), median", statistics.median(times), 50, "ms")
            line(f"{name}: a filter toggles (all points shown), worst", max(times), 50, "ms")
        browser.close()


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s in all; {len(records.default_records())} cases in the default suite")
