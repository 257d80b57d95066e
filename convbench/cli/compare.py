"""The verb that describes two stored runs, and the comparison of a check with a stored baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.app import app
from convbench.cli.terminal import console, print_table
from convbench.core import imports
from convbench.core.errors import Refused
from convbench.core.text import first_names, one_line

if TYPE_CHECKING:
    from convbench.analysis.stored_runs import StoredComparison
    from convbench.core.record import Record
    from convbench.core.statistics import Interval
    from convbench.core.storage.store import Stored
    from convbench.suite.selection import Selection

COMPARABLE, LOOKS_SLOWER = 0, 3
SLOWER = 1.02
ADVISORY = """Advisory: the baseline's code cannot be measured beside head, so nothing is decided.
Give --base a git ref, a wheel or a directory for a verdict."""


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="A run directory.")],
    run_b: Annotated[Path, typer.Argument(help="Another run directory, described as ratios to the first.")],
) -> None:
    """Describe two stored runs; exit 4 if nothing in them can be compared. To decide, use `check`."""
    from convbench.analysis import stored_runs
    from convbench.core.storage import store
    from convbench.report.words import comparison as words

    runs = store.load(run_a), store.load(run_b)
    if runs[0] == runs[1]:
        raise Refused(f"{run_a} and {run_b} are the same run: there is nothing to compare")
    comparison = stored_runs.lay_side_by_side(*runs)
    _print(comparison, [match.ratios[1] if comparison.comparable else None for match in comparison.matches])
    _print_run_failures(runs, comparison)
    if not comparison.matches:
        raise Refused(f"no case was measured both in {run_a} and in {run_b}: there is nothing to compare")
    if not comparison.has_times:
        if not comparison.has_counts:
            raise Refused(f"no case has a latency or a count both in {run_a} and in {run_b}: nothing can be compared")
        print("No case has a latency in both runs: only counts are compared, which are exact on any machine.")
        return
    if not comparison.comparable:
        raise Refused(f"the milliseconds are not comparable: {'; '.join(comparison.differences)}")
    print(words.sentence(comparison.matches, 1, "The second run", "the first", "in the table above"))
    if factor := stored_runs.machine_slowdown(comparison.matches):
        text = f"The reference workload, the same in every run, took {factor:.3f}× as long in the second run"
        print(f"{text}, at the speeds for which latencies are stated.")
    print(
        "The runs were recorded at different times: other processes and the hour differ too. To decide, use "
        "`convbench check`."
    )


def base_of(baseline: Path) -> str | None:
    """Return the commit that a stored run measured, if it is in this repository and was clean; else None."""
    from convbench.core import git
    from convbench.core.storage import store

    environment = store.load(baseline)[0].environment
    commit = environment.get("commit")
    if not commit or environment.get("dirty"):
        return None
    return git.commit(imports.require_working_directory(), str(commit))


def lay_beside_baseline(baseline: Path, suite: str, overrides: Sequence[str], device: str, selection: Selection) -> int:
    """Measure head alone and compare it with the stored run: a hint, never a verdict.

    Returns the exit code: 5 if a case that the stored run has measured fails now, 3 if head looks slower, else 0.
    Raises Refused with the differing keys if the run's machine, software or protocol differs, and if it has a latency
    for none of the cases.
    """
    from convbench.analysis import stored_runs
    from convbench.check.verdict import INVALID
    from convbench.core.storage import store

    base_run = store.load(baseline)
    head_run = _measure_head(base_run, baseline, suite, overrides, device, selection)
    comparison = stored_runs.lay_side_by_side(base_run, head_run)
    failures = [
        record for record in head_run[1] if record.status != "ok" and record.case.id in comparison.lone_cases[0]
    ]
    if not comparison.has_times and not failures:
        raise Refused(f"{baseline} has no latency for any case that {suite} measures: nothing can be compared")
    factor = stored_runs.machine_slowdown(comparison.matches)
    ratios = stored_runs.normalise(comparison.matches, factor or 1.0)
    _print(comparison, ratios)
    if factor is None and comparison.has_times:
        print("The baseline has no reference workload: ratios include any change in the machine's speed.")
    elif factor:
        remark = "how much slower the machine was, as far as latencies were not corrected for it already"
        print(f"Ratios are divided by that of the reference workload, {factor:.3f}: {remark}.")
    _print_failures("now", failures)
    print(ADVISORY)
    if failures:
        return INVALID
    return LOOKS_SLOWER if any(ratio and ratio.low > SLOWER for ratio in ratios) else COMPARABLE


def _measure_head(
    base_run: Stored, baseline: Path, suite: str, overrides: Sequence[str], device: str, selection: Selection
) -> Stored:
    """Measure the suite's cases here, without storing them. Raises Refused if the stored run is not comparable."""
    from convbench.analysis import stored_runs
    from convbench.cli.gate import hold_machine
    from convbench.runs import preparation, sweep
    from convbench.runs.user_code import load

    loaded_suite = load(suite, overrides)
    with preparation.executor_of(loaded_suite, device) as executor:
        prepared = preparation.prepare(loaded_suite, executor, selection, "convbench check")
        description = prepared.run()
        stored_ids = {record.case.id for record in base_run[1]}
        shared_cases = [case for case in prepared.plan.cases if case.id in stored_ids]
        if differences := stored_runs.grave_differences((base_run[0], description), shared_cases):
            raise Refused(f"{baseline} cannot be compared with what is measured here: {'; '.join(differences)}")
        with hold_machine():
            return description, sweep.measure_unstored(prepared)


def _print_run_failures(runs: tuple[Stored, Stored], comparison: StoredComparison) -> None:
    """Print each case that failed in a run, or was skipped there and measured in the other run, with the reason."""
    places = ("in the first run", "in the second run")
    for place, (_, records), ids in zip(places, runs, reversed(comparison.lone_cases), strict=True):
        failures = (record for record in records if record.status != "ok")
        _print_failures(place, [record for record in failures if record.status == "failed" or record.case.id in ids])


def _print(comparison: StoredComparison, ratios: Sequence[Interval | None]) -> None:
    from convbench.analysis import stored_runs
    from convbench.report.words import comparison as words
    from convbench.report.words import names, units

    case_names, common_parts = names.apart([match.case.id for match in comparison.matches])
    rows = []
    for name, match, ratio in zip(case_names, comparison.matches, ratios, strict=True):
        latencies = [units.interval(result.latency) if result else units.MISSING for result in match.results]
        ratio_text = units.speedup(ratio) if ratio else "other machine" if match.elsewhere else units.MISSING
        rows.append((name, *latencies, ratio_text, ", ".join(stored_runs.exact_changes(match))))
    screen = console()
    if rows:
        print_table(
            screen, ("case", "first", "second", "ratio", "exact changes"), rows, wrapping=("case", "exact changes")
        )
    if common_parts:
        screen.print(f"in every case: {', '.join(common_parts)}", markup=False, highlight=False)
    if sentence := words.missing_ratios(comparison.matches, 1):
        screen.print(f"{sentence}, without a ratio.", markup=False, highlight=False)
    for name, cases in zip(("first", "second"), comparison.lone_cases, strict=True):
        for case in cases if comparison.matches else first_names(cases):  # of unrelated runs, a few show why
            screen.print(f"only in the {name} run: {case}", markup=False, highlight=False, soft_wrap=True)


def _print_failures(place: str, records: Sequence[Record]) -> None:
    from convbench.report.words.findings import failure

    for record in records:
        print(one_line(f"no result {place}: {record.case.id}: {failure(record.failure)}"))
