"""Test comparisons of stored runs: how their ratios separate a slower machine from a slower model."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import records
from typer.testing import CliRunner

from convbench.analysis import stored_runs
from convbench.cli.app import app
from convbench.cli.compare import COMPARABLE, LOOKS_SLOWER, lay_beside_baseline
from convbench.core.record import Finding, Record, Visit
from convbench.core.registry import executors
from convbench.core.storage import store
from convbench.report.words.comparison import notes
from convbench.runs import preparation, sweep
from convbench.suite import load
from convbench.suite.selection import Selection

CASES = [records.case("gap"), records.case("fc", 128), records.case("flatten")]


def measured(model: float, machine: float, reference: bool = True) -> list[Record]:
    """Return records of models slowed by a factor ``model``, on a machine slowed by a factor ``machine``."""
    run_records = []
    for number, case in enumerate(CASES):
        record = records.record(case, latency=model * machine * (number + 1) * 1e-3)
        odd = 1.5 if number == 2 else 1.0
        extra = (records.reading("reference_s", *[3e-4 * machine * odd] * 5),) if reference else ()
        run_records.append(replace(record, readings=(*record.readings, *extra)))
    return run_records


def side_by_side(first: list[Record], second: list[Record]) -> stored_runs.StoredComparison:
    return stored_runs.lay_side_by_side((records.run_of(first), first), (records.run_of(second), second))


def test_slower_models_are_distinguished_from_a_slower_machine():
    comparison = side_by_side(measured(1, 1), measured(1.2, 1.1))
    factor = stored_runs.machine_slowdown(comparison.matches)
    assert factor == pytest.approx(1.1)
    for ratio in stored_runs.normalise(comparison.matches, factor):
        assert ratio.median == pytest.approx(1.2, rel=1e-6)
        assert ratio.low < ratio.median < ratio.high


def visited(model: float, machine: float) -> list[Record]:
    """Like ``measured``, with six visits to each case, on a machine whose speed in a quiet run is known."""
    rounds = [(number, speed * machine) for number, speed in enumerate((1.0, 1.02, 1.05, 1.0, 1.03, 1.01))]
    visits = tuple(Visit(number, f"2026-11-22T{10 + number}:00:00Z") for number, _ in rounds)
    run_records = []
    for size, case in enumerate(CASES, start=1):
        noise = [1 + 0.002 * ((number + size) % 3) for number, _ in rounds]
        latencies = [size * 1e-3 * model * slower * odd for (_, slower), odd in zip(rounds, noise, strict=True)]
        readings = [
            replace(records.reading(name, *(value for value in values for _ in range(5))), visits=(5,) * len(rounds))
            for name, values in (("latency_s", latencies), ("reference_s", [3e-4 * slower for _, slower in rounds]))
        ]
        quiet = {"quiet_reference_s": 3e-4}
        run_records.append(replace(records.record(case), readings=tuple(readings), visits=visits, conditions=quiet))
    return run_records


def test_a_correction_of_visits_is_not_applied_twice():
    """Visits were corrected to the quiet speed and their ratio also divided by 1.17: 15 % slower looked 2 % faster."""
    comparison = side_by_side(visited(1, 1), visited(1.15, 1.17))
    factor = stored_runs.machine_slowdown(comparison.matches)
    assert factor == pytest.approx(1, abs=0.005)
    for ratio in stored_runs.normalise(comparison.matches, factor):
        assert ratio.median == pytest.approx(1.15, rel=0.01)
    of_each = [[match.results[run] for match in comparison.matches] for run in (0, 1)]
    assert not any("reference workload" in note for note in notes(comparison.matches, of_each, 1, "B"))


def test_a_case_that_failed_in_one_run_has_no_match():
    first, second = measured(1, 1), measured(1, 1)
    failed = [records.failed(CASES[0]), *second[1:]]
    assert side_by_side(first, failed).lone_cases == ((CASES[0].id,), ())
    assert side_by_side(failed, second).lone_cases == ((), (CASES[0].id,))
    assert side_by_side(failed, failed).lone_cases == ((), ())


def test_one_disturbed_process_does_not_change_the_machines_factor():
    first, second = measured(1, 1), measured(1, 1)
    disturbed = replace(second[0], readings=(*second[0].readings[:-1], records.reading("reference_s", 1.0)))
    assert stored_runs.machine_slowdown(side_by_side(first, [disturbed, *second[1:]]).matches) == pytest.approx(1)


def test_the_machines_factor_needs_the_reference_in_both_runs():
    comparison = side_by_side(measured(1, 1, reference=False), measured(1, 1.1))
    assert stored_runs.machine_slowdown(comparison.matches) is None
    assert stored_runs.normalise(comparison.matches, 1.0)[0].median == pytest.approx(1.1, rel=1e-6)


def test_compare_says_why_a_case_has_no_ratio(tmp_path: Path) -> None:
    """It used to show only a dash in place of the latency."""
    never = Finding("withheld", data={"reason": "busy", "visits": 3, "threads": 1})
    quiet = [records.record(records.case(name)) for name in ("gap", "flatten")]
    busy = [quiet[0], replace(records.record(records.case("flatten"), samples=0), findings=(never,))]
    runs = [str(records.stored(tmp_path / name, each)) for name, each in (("a", quiet), ("b", busy))]
    for call in (runs, reversed(runs)):
        out = CliRunner().invoke(app, ["compare", *call]).output
        assert "1 shared case was never measured undisturbed in one of them, without a ratio." in out


@pytest.mark.parametrize(
    ("slower", "code"), [((1.01, 1.01), COMPARABLE), ((1.03, 1.03), LOOKS_SLOWER), ((1.3, 1.0), COMPARABLE)]
)
def test_a_hint_against_a_baseline_looks_slower_by_its_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    slower: tuple[float, float],
    code: int,
) -> None:
    suite = load("smoke")
    monkeypatch.setattr(preparation, "executor_of", lambda *_: executors.get("fake").build("cpu", suite.cases))
    monkeypatch.setattr(sys, "path", list(sys.path))
    with preparation.executor_of(suite, "cpu") as fake:
        prepared = preparation.prepare(suite, fake, Selection(), "")
        store.start(tmp_path, prepared.run(), [quicker(record, slower) for record in sweep.measure_unstored(prepared)])
    assert lay_beside_baseline(tmp_path, "smoke", (), "cpu", Selection()) == code
    assert "Advisory: the baseline's code cannot be measured beside head" in capsys.readouterr().out


def quicker(record: Record, factors: tuple[float, float]) -> Record:
    """Return the record with times that are shorter by these factors, in its first visit and in all others."""
    readings = []
    for reading in record.readings:
        first, *others = reading.by_visit()
        samples = [value / factors[0] for value in first] + [value / factors[1] for part in others for value in part]
        readings.append(replace(reading, samples=tuple(samples)))
    return replace(record, readings=tuple(readings))
