"""Threads: their number is part of the measurement, and their gain is estimated from visits in the same rounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import records

from convbench.analysis.compare import match
from convbench.analysis.costs.gains import thread_gains
from convbench.analysis.results import results
from convbench.analysis.stored_runs import lay_side_by_side, machine_slowdown
from convbench.core import metrics
from convbench.core.record import Finding, Reading, Visit
from convbench.core.registry import figures
from convbench.core.visits import join_visits, scope, torch_threads
from convbench.measure import waiting
from convbench.report.words.findings import sentence, withheld_reason


def timed(threads, *seconds, waited=0.0, name="gap", reference=None):
    """Return a record whose visits took these seconds on this number of threads, beside the reference workload."""
    case = replace(records.case(name), threads=None if threads == 1 else threads)
    plain = records.record(case, samples=0)
    ones = (1,) * len(seconds)
    readings = [reading for reading in plain.readings if reading.metric.name != metrics.LATENCY.name]
    readings += [Reading(metrics.LATENCY, seconds, ones), Reading(metrics.RUN_DELAY, (waited,) * len(seconds), ones)]
    readings += [Reading(metrics.REFERENCE, (reference,) * len(seconds), ones)] if reference else []
    visits = tuple(Visit(number, "2026-11-22T12:00:00Z") for number in range(len(seconds)))
    return replace(plain, readings=tuple(readings), visits=visits, conditions={"threads": threads})


def test_threads_are_part_of_a_cases_id_and_group():
    single, double = timed(1, 1e-3), timed(2, 1e-3)
    assert double.case.id == f"{single.case.id}/threads=2"
    groups = {result.group.threads for result in results([single, double])}
    assert groups == {1, 2}


def test_threads_that_only_feed_a_gpu_do_not_part_its_records():
    scopes = []
    for threads in (1, 2):
        record = timed(threads, 1e-3)
        record = replace(record, case=replace(record.case, device="cuda", threads=None))
        assert torch_threads(record) == threads
        scopes.append(scope(record))
    assert scopes[0] == scopes[1] != scope(timed(1, 1e-3))


def test_a_speedup_comes_from_shared_rounds():
    """The machine is half as fast in the second round, which must affect neither the ratio nor its interval."""
    case_results = results([timed(1, 1e-3, 2e-3, 1e-3), timed(2, 0.5e-3, 1.01e-3, 0.5e-3)])
    (gain,) = thread_gains(case_results)
    assert (gain.threads, gain.fewest) == (2, 1)
    assert gain.speedup.median == pytest.approx(2.0)


def test_a_multithreaded_case_that_waited_for_a_core_is_withheld():
    run_records = join_visits([timed(1, 1e-3, 1e-3, 1e-3, waited=0.5), timed(2, 1e-3, 1e-3, 1e-3, waited=0.05)])
    single, pair = results(run_records)
    assert single.latency is not None
    assert pair.latency is None
    assert [finding.code for finding in pair.record.findings] == ["withheld"]
    assert thread_gains([single, pair]) == []


def test_more_threads_than_cores_are_not_blamed_on_other_processes():
    """For two threads pinned to one core, the advice was to measure again when the machine is quiet."""
    busy = Finding("busy_machine", data={"waited": 1.2, "threads": 2, "cores": 1})
    (record,) = join_visits([replace(timed(2, 1e-3, waited=1.2), findings=(busy,))])
    withheld = next(finding for finding in record.findings if finding.code == "withheld")
    assert withheld_reason(withheld.data) == "its 2 threads shared 1 core"
    assert sentence(busy) == "2 threads shared 1 core, and waited for each other: ask for no more threads than cores."
    assert "busy (other processes had a core for 120 % of the time): measure again" in sentence(busy, "cuda:0")


def test_a_quota_is_not_blamed_on_other_processes():
    """Alone in a container of 1.5 processors, it read "other processes had a core for 100 % of the time"."""
    busy = Finding("busy_machine", data={"waited": 0.5, "threads": 2, "quota": 1.5})
    (record,) = join_visits([replace(timed(2, 1e-3, waited=0.5), findings=(busy,))])
    withheld = next(finding for finding in record.findings if finding.code == "withheld")
    assert withheld_reason(withheld.data) == "its 2 threads had used up the container's quota of 1.5 processors"
    assert sentence(busy).startswith("2 threads had used up the container's quota of 1.5 processors, and waited")


@pytest.mark.parametrize(("cores", "pause", "noted"), [(1, 1.1, {"cores": 1}), (4, 0.01, {}), (4, 0.3, {"quota": 1.5})])
def test_a_case_with_fewer_cores_than_threads_or_a_used_up_quota_notes_it(cores, pause, noted, monkeypatch):
    monkeypatch.setattr(waiting.cgroup, "available_cores", lambda: cores)
    monkeypatch.setattr(waiting.cgroup, "cpu_quota", lambda: 1.5)
    monkeypatch.setattr(waiting.torch, "get_num_threads", lambda: 2)
    (busy,) = waiting.busy_machine(1.2, pause)
    assert busy.data == {"waited": 1.2, "threads": 2, **noted}


def test_a_single_omitted_case_is_worded_in_the_singular():
    odd = [timed(1, 1e-3, 1e-3, 1e-3, name="fc"), timed(2, 1e-3, 1e-3, 1e-3, waited=0.05, name="fc")]
    shown = [timed(threads, 1e-3 / threads, 1e-3 / threads, 1e-3 / threads) for threads in (1, 2)]
    (drawing,) = figures.get("threads").build(results(join_visits([*shown, *odd])))
    assert drawing.caption.endswith(" 1 case was never measured undisturbed and left out.")
    elsewhere = [replace(record, case=replace(record.case, scenario="streaming")) for record in odd]
    (drawing,) = figures.get("threads").build(results(join_visits([*shown, *elsewhere])))
    assert "left out" not in drawing.caption


def test_reference_times_are_compared_at_equal_threads():
    """Here four threads need a quarter of the time, which is no disturbance. Runs are compared at equal threads."""
    records_of = [timed(threads, 1e-3, 1e-3, 1e-3, reference=3e-3 / threads) for threads in (1, 4)]
    case_results = results(join_visits(records_of))
    assert all(visit.is_sound for result in case_results for visit in result.record.visits)
    assert all(result.latency for result in case_results)
    (drawing,) = figures.get("machine").build(case_results)
    assert drawing.title == "The machine during the run: no visit disturbed"
    later = results(join_visits([timed(threads, 1e-3, 1e-3, 1e-3, reference=3.3e-3 / threads) for threads in (1, 4)]))
    assert machine_slowdown(match([case_results, later])) == pytest.approx(1.1)
    assert machine_slowdown(match([case_results[:1], later])) == pytest.approx(1.1)


def test_a_run_on_other_threads_gives_no_machine_slowdown():
    """Threads that the suite leaves open are not part of a case's id, so two runs may differ in them."""
    runs = [[replace(timed(1, 1e-3, 1e-3, reference=3e-3 / threads), conditions={"threads": threads})]
            for threads in (1, 4)]  # fmt: skip
    comparison = lay_side_by_side(*((records.run_of(run), join_visits(run)) for run in runs))
    assert machine_slowdown(comparison.matches) is None


def test_the_figure_has_a_panel_per_number_of_threads():
    case_results = results([timed(n, 1e-3 / n, 1e-3 / n, name=name) for n in (1, 2, 4) for name in ("gap", "gmp")])
    drawings = list(figures.get("threads").build(case_results))
    assert [drawing.title for drawing in drawings] == ["2 threads over 1, inference", "4 threads over 1, inference"]
    assert [len(drawing.marks) for drawing in drawings] == [2, 2]


def test_a_run_on_one_number_of_threads_has_no_figure():
    assert list(figures.get("threads").build(results([timed(1, 1e-3, 1e-3)]))) == []


def test_an_existing_finding_is_kept_when_visits_are_joined():
    noted = replace(timed(1, 1e-3), findings=(Finding("folds_into_lstm"),))
    assert [finding.code for finding in join_visits([noted])[0].findings] == ["folds_into_lstm"]
