"""Test latencies from visits: runs with and without other work agree within their intervals."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import records

from convbench.analysis import latencies
from convbench.analysis.costs.headlines import VAGUE_WIDTH, undecided_results
from convbench.analysis.costs.ranking import rank
from convbench.analysis.results import result, results
from convbench.analysis.run_agreement import agreement
from convbench.core import metrics
from convbench.core.record import Finding, Reading, Visit
from convbench.core.registry import executors
from convbench.core.spread import ASSUMED, Prior, estimate, prior
from convbench.core.statistics import Interval, median_interval, ratio_interval
from convbench.core.visits import join_visits, scope
from convbench.runs import preparation, repeats, sweep

CASES = [records.case("fc", size) for size in range(8, 8 + 8 * 30, 8)]
SECONDS = {case.id: 1e-3 * 1.1**i for i, case in enumerate(CASES)}


def run(seed, slowed=1.0, waited=0.0, moments=0.15, known=None, slope=1.0, threads=1):
    """Return records of three visits a case on a machine of changing speed. Cases follow a power of the reference."""
    rng, run_records = np.random.default_rng(seed), []
    for case in CASES:
        speed = slowed * np.exp(np.abs(rng.normal(0, moments, 3)))
        latency = SECONDS[case.id] * speed**slope * np.exp(rng.normal(0, 0.02, 3))
        values = {metrics.LATENCY: latency, metrics.REFERENCE: 1e-3 * speed, metrics.RUN_DELAY: np.full(3, waited)}
        plain = records.record(case, samples=0)
        names = {metric.name for metric in values}
        readings = [reading for reading in plain.readings if reading.metric.name not in names]
        readings += [Reading(metric, tuple(map(float, samples)), (1, 1, 1)) for metric, samples in values.items()]
        conditions = {"threads": threads} | ({latencies.QUIET_REFERENCE: known} if known else {})
        visits = tuple(Visit(number) for number in range(3))
        run_records.append(replace(plain, readings=tuple(readings), visits=visits, conditions=conditions))
    return run_records


def test_the_reference_corrects_slow_moments():
    """The machine's speed changes by 15 % between visits, but the intervals are as narrow as for 2 %."""
    case_results = results(run(1))
    assert np.median([result.latency.relative_half_width for result in case_results]) < 0.05
    near = [abs(math.log(result.latency.median / SECONDS[result.case.id])) for result in case_results]
    assert max(near) < 0.15


def test_quiet_and_busy_runs_agree_given_a_quiet_run():
    quiet = run(1)
    (known,) = latencies.quiet_references(quiet).values()
    comparison = agreement(results(quiet), results(run(2, slowed=1.5, waited=0.5, known=known)))
    assert comparison.meet >= 0.9
    assert comparison.factors[2] < 1.25
    assert comparison.contradictions == 0


def test_a_temporary_slowdown_is_corrected_to_the_last_quiet_runs():
    """Neighbours slow a virtual machine by a fifth for a whole run. If it is far slower, it is another machine."""
    quiet = run(1)
    (known,) = latencies.quiet_references(quiet).values()
    slower = run(2, slowed=1.2)
    assert agreement(results(quiet), results(slower)).meet < 0.9
    comparison = agreement(results(quiet), results(run(2, slowed=1.2, known=known)))
    assert comparison.meet >= 0.95
    assert comparison.factors[2] < 1.15
    far = [result.latency.median for result in results(run(2, slowed=2.0, known=known))]
    assert far == [result.latency.median for result in results(run(2, slowed=2.0))]


def test_without_a_quiet_run_a_busy_runs_interval_reaches_lower():
    """Other work slows a core by up to 1.6 times, besides taking its time: nothing here tells by how much."""
    case_results = results(run(2, slowed=1.5, waited=0.5))
    assert all(result.latency.low <= SECONDS[result.case.id] for result in case_results)
    for case_result, quiet in zip(case_results, results(run(2, slowed=1.5)), strict=True):
        median, low, high = quiet.latency
        assert case_result.latency == pytest.approx((median, low / 1.6, high))
    assert agreement(results(run(1)), case_results).meet >= 0.9


def machine_of(run_records):
    """Return what the visits of a run on one machine have in common."""
    (machine,) = latencies.machines(run_records).values()
    return machine


def test_the_doubt_is_a_share_of_the_distance_to_the_quiet_speed():
    usual = machine_of(run(2, slowed=1.2)).level
    restated = machine_of(run(2, slowed=1.2, known=1e-3))
    assert restated.level == math.log(1e-3)
    assert restated.doubt == pytest.approx([0.15 * (usual - math.log(1e-3))] * 2)


def test_a_busy_run_faster_than_the_quiet_ones_keeps_its_own_speed():
    plain, beside_work = machine_of(run(2)), machine_of(run(2, waited=0.5, known=2e-3))
    assert (beside_work.level, beside_work.doubt) == (plain.level, (0.0, 0.0))


def test_a_run_is_beside_other_work_above_a_tenth_of_waiting():
    assert machine_of(run(2, waited=0.09)).doubt == (0.0, 0.0)
    assert machine_of(run(2, waited=0.11)).doubt == pytest.approx((math.log(1.6), 0.0))


def test_twenty_visits_tell_a_quiet_machines_speed():
    assert latencies.quiet_references(run(1)[:6]) == {}
    (seconds,) = latencies.quiet_references(run(1)[:7]).values()
    assert 1e-3 <= seconds < 1.15e-3


def visited(*logs):
    return latencies.Latency(Interval(1.0, 0.9, 1.1), dict(enumerate(logs)), Prior(4.0, 0.01**2))


def test_few_ratios_assume_twice_the_variance_of_a_visit():
    """Five ratios of several rounds tell their own spread."""
    rng = np.random.default_rng(1)
    pairs = [(visited(*rng.normal(0, 0.1, 3)), visited(*rng.normal(0, 0.1, 4))) for _ in range(5)]
    differences = [[first.logs[i] - second.logs[i] for i in range(3)] for first, second in pairs]
    assumed = [estimate(logs, Prior(4.0, 2 * 0.01**2)) for logs in differences]
    single = (visited(0.5), visited(0.25))
    assert latencies.ratios([*pairs[:4], single])[:4] == assumed[:4]
    assert latencies.ratios([*pairs, single]) == [estimate(logs, prior(differences)) for logs in (*differences, [0.25])]
    assert latencies.ratios([(pairs[0][0], pairs[0][0])]) == [(1.0, 1.0, 1.0)]


@pytest.mark.parametrize(("visits", "met"), [
    ((" 0  2  4", " 1  3  5"), (0, 1, 2)),
    ((" 0  5  7", " 1  6  8"), (0, 1, 2)),  # interrupted after the first round
    ((" 0  2  8", " 0  2  8"), (0, 1, 2)),
    ((" 0  2  4", " 5  6  7"), ()),  # the second case was added later
    ((" 0  2  8", " 5  6  9"), ()),  # and then visited in a round with the first
    ((" 0  1  6  8", " 4  5  7  9"), (2, 3)),  # and then in as many as before
    ((" 0  2  4", " 1  5  7"), ()),
    (("a0 b1 a5", "a3 b2 a6"), (0, 1, 2)),  # a host of a cluster may be a round behind
    (("a0 a2 a4", "b1 b3 a5"), (2,)),
])  # fmt: skip
def test_a_ratio_is_formed_only_of_visits_in_common_moments(visits, met):
    """The visits of a case that is added to a run later are of the same rounds as those of the others."""
    logs = ((0.5, 0.75, 1.0, 1.5), (0.25,) * 4)
    moments = [dict(enumerate(re.findall("(.)(.)(?: |$)", text))) for text in visits]
    first, second = (replace(visited(*of[: len(made)]), moments=made) for of, made in zip(logs, moments, strict=True))
    differences = [logs[0][number] - logs[1][number] for number in met]
    by_rounds = estimate(differences, Prior(4.0, 2 * 0.01**2)) if met else None
    assert latencies.ratios([(first, second)]) == [by_rounds or ratio_interval(first.interval, second.interval)]


def waiting(threads, *waits, finding=None):
    """Return records of three visits a case that waited for a core by these seconds per second, on some threads."""
    visits = run(2, moments=0.05, waited=waits, threads=threads)
    return join_visits(replace(record, findings=(finding,) if finding else ()) for record in visits)


@pytest.mark.parametrize(("threads", "waits"), [(1, (0.3, 0.3, 0.3)), (2, (0.0, 0.6, 0.6)), (16, (0.0, 4.8, 4.8))])
def test_a_run_that_waited_is_busy_on_any_number_of_threads(threads, waits):
    """With several threads, a visit that waited is disturbed, and its wait was not counted."""
    busy, quiet = waiting(threads, *waits), waiting(threads, 0.0, 0.0, 0.0)
    assert latencies.busy(busy) and not latencies.busy(quiet)
    assert latencies.quiet_references(busy) == {} != latencies.quiet_references(quiet)
    (machine,) = latencies.machines(busy).values()
    assert machine.doubt == (math.log(latencies.MOST_SLOWDOWN), 0.0)


OWN_THREADS = Finding("busy_machine", data={"waited": 1.9, "threads": 2, "cores": 1})


@pytest.mark.parametrize(
    ("threads", "waits", "finding"),
    [(1, (0.02, 0.0, 0.05), None), (2, (0.0, 0.0, 0.6), None), (16, (0.0, 0.15, 0.15), None),
     (2, (0.0, 1.9, 1.9), OWN_THREADS)],
)  # fmt: skip
def test_a_quiet_run_is_never_busy_and_keeps_its_intervals(threads, waits, finding, monkeypatch):
    """One visit beside other work, the short waits of many threads, and own threads that share a core."""
    quiet = waiting(threads, *waits, finding=finding)
    intervals = [result.latency for result in results(quiet)]
    assert not latencies.busy(quiet) and all(intervals)
    monkeypatch.setattr(latencies, "busy", lambda _: False)
    assert [result.latency for result in results(quiet)] == intervals


def test_an_interval_covers_differences_between_runs():
    """A whole run is off by about 1.2 %, and each case by about 0.9 % more, unseen by the reference workload."""
    rng, covered = np.random.default_rng(5), []
    for seed in range(20):
        run_records, common = run(seed, moments=0.0), rng.normal(0, 0.012)
        shifted = results([_times(record, math.exp(common + rng.normal(0, 0.009))) for record in run_records])
        covered += [result.latency.low <= SECONDS[result.case.id] <= result.latency.high for result in shifted]
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("samples", [(226e-6, 234e-6, 256e-6, 261e-6, 278e-6, 895e-6), (1e-3, 3e-3)])
def test_the_interval_of_one_visit_contains_its_samples(samples):
    plain = records.record(CASES[0], samples=0)
    others = [reading for reading in plain.readings if reading.metric.name != metrics.LATENCY.name]
    latency = Reading(metrics.LATENCY, samples, (len(samples),))
    single = replace(plain, readings=(*others, latency), visits=(Visit(0),))
    (result,) = results([single])
    assert result.latency.low <= min(samples) and max(samples) <= result.latency.high
    assert result.latency.high / result.latency.median > 1.3  # the spread between processes
    middle, *ends = median_interval(samples)
    low, high = ends if math.isfinite(ends[1]) else (min(samples), max(samples))
    processes = estimate([math.log(middle)], ASSUMED, latencies.RUN_SD)
    below = math.hypot(math.log(processes.low / middle), math.log(low / middle))
    above = math.hypot(math.log(processes.high / middle), math.log(high / middle))
    assert result.latency == pytest.approx((middle, middle * math.exp(-below), middle * math.exp(above)))


def test_cases_that_slow_down_differently_have_wider_intervals():
    """One power is fitted to all cases: it removes too much of a slowdown by a third here and too little there."""
    rng, covered = np.random.default_rng(6), []
    for seed in range(20):
        run_records = run(seed, slowed=1.35, waited=0.5, moments=0.03, known=1e-3)
        unlike = [1.35 ** rng.normal(0, 0.15) for _ in run_records]
        shifted = results([_times(record, factor) for record, factor in zip(run_records, unlike, strict=True)])
        covered += [result.latency.low <= SECONDS[result.case.id] <= result.latency.high for result in shifted]
    assert np.mean(covered) >= 0.93


def test_uncertainty_of_a_slow_machine_asks_for_no_more_visits():
    """More visits cannot reduce it."""
    case_results = results(run(7, slowed=1.5, waited=0.5, moments=0.0, known=1e-3))
    fastest = min(case_results, key=lambda result: result.latency.median)
    assert fastest.latency.relative_half_width > VAGUE_WIDTH > fastest.timing.by_visits.relative_half_width
    assert undecided_results(case_results) == []


def _times(record, factor):
    """Return the record with all latencies multiplied by ``factor``."""
    readings = (
        replace(reading, samples=tuple(factor * sample for sample in reading.samples))
        if reading.metric == metrics.LATENCY
        else reading
        for reading in record.readings
    )
    return replace(record, readings=tuple(readings))


@pytest.mark.parametrize("spacing", [0.0, 0.2])
def test_ratios_to_a_fastest_that_luck_selected_hold(spacing):
    """Of thirty equally fast models, the luckiest is the fastest: 80 % of the others' ratios to it held the truth.

    Models that are far apart keep the intervals of a single ratio.
    """
    rng, plain = np.random.default_rng(3), [replace(result(record), timing=None) for record in run(1)]
    steps = {case.id: spacing * place for place, case in enumerate(CASES)}
    held, widths = [], []
    for _ in range(12):
        logs = rng.normal(0, 0.03, (len(CASES), 3)) + np.array(list(steps.values()))[:, None]
        common = prior(logs)
        timings = [latencies.Latency(estimate(visits, common), dict(enumerate(visits)), common) for visits in logs]
        ranking = rank([replace(case, timing=timing) for case, timing in zip(plain, timings, strict=True)])
        fastest, *others = (contender.result for contender in ranking)
        for contender, ratio in zip(
            ranking[1:], latencies.ratios([(other.timing, fastest.timing) for other in others]), strict=True
        ):
            truth = math.exp(steps[contender.result.case.id] - steps[fastest.case.id])
            held.append(contender.factor.low <= truth <= contender.factor.high)
            widths.append(math.log(contender.factor.high / contender.factor.low) / math.log(ratio.high / ratio.low))
    assert np.mean(held) >= 0.93
    assert np.median(widths) == pytest.approx(1.0) if spacing else np.median(widths) < 1.8


def test_ratios_are_precise_beside_other_work():
    first, second = results(run(2, slowed=1.5, waited=0.5))[:2]
    (ratio,) = latencies.ratios([(second.timing, first.timing)])
    assert ratio.low < 1.1 < ratio.high
    assert ratio.relative_half_width < 0.1


def test_only_the_speeds_of_quiet_runs_are_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    facts, setting = {"cpu": "a", "cores": 2}, ("cpu", 1)
    repeats.keep_speed(facts, run(3, waited=0.5))
    assert repeats.known_speed(facts, *setting) is None
    repeats.keep_speed(facts, run(3))
    assert repeats.known_speed(facts, *setting) == pytest.approx(1e-3, rel=0.1)
    assert repeats.known_speed({"cpu": "b", "cores": 2}, *setting) is None
    for _ in range(repeats.QUIET_RUNS - 1):
        repeats.keep_speed(facts, run(3, slowed=1.5))
    assert repeats.known_speed(facts, *setting) == pytest.approx(1e-3, rel=0.1), "the fastest of the last"
    repeats.keep_speed(facts, run(3, slowed=1.5))
    assert repeats.known_speed(facts, *setting) == pytest.approx(1.5e-3, rel=0.1), "which are five"


def test_a_quiet_runs_speed_is_stored_by_thread_count(tmp_path, monkeypatch):
    """Two threads run the reference workload faster, which does not tell the speed of one thread."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    facts = {"cpu": "a", "cores": 2}
    repeats.keep_speed(facts, [*run(3), *run(4, slowed=0.6, threads=2)])
    known = [repeats.known_speed(facts, *scope(run(5, threads=threads)[0]).setting) for threads in (1, 2, 4)]
    assert known == [pytest.approx(1e-3, rel=0.1), pytest.approx(0.6e-3, rel=0.1), None]


def test_the_result_of_a_selftest_is_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runs = iter([run(1), run(2), run(3)])
    comparisons = list(repeats.agreements(lambda: next(runs), 0.0))
    counted = repeats.sum_up(comparisons)
    assert counted.comparisons == len(CASES)
    repeats.keep({"cpu": "a"}, counted)
    assert repeats.known_share({"cpu": "a"}) == counted.share >= 0.9


def test_a_selftest_of_run_is_printed_as_json(tmp_path, monkeypatch, in_process):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(preparation, "executor_of", lambda *_: executors.get("fake").build("cpu"))
    monkeypatch.setattr(repeats, "FEWEST", 10)
    words = ("--minutes", "0", "--json", "--slowdowns", "5", "--detect", "3")
    done = in_process("selftest", "smoke", "--run", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not used, since --run measures the suite itself: --slowdowns, --detect\n" in done.stderr
    figures = json.loads(done.stdout)
    assert figures["comparisons"] == figures["met"] > 0
    assert figures["share"] == 1.0
    assert figures["words"][0].startswith(f"{figures['met']} of {figures['comparisons']} intervals of two runs met")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")  # a cache that cannot be written lost the figures
    done = in_process("selftest", "smoke", "--run", *words, cwd=tmp_path)
    assert json.loads(done.stdout)["words"][1].startswith("not kept: /dev/null/convbench: cannot be written")


@pytest.mark.parametrize("fewest", [1, 2])
def test_an_interrupted_selftest_of_run_prints_what_it_has_and_keeps_no_share_of_few(
    tmp_path, monkeypatch, in_process, fewest
):
    """Ctrl-C lost hours, and later reports stated 100 % where a single interval had met another.

    A kill lost them, too: the share was kept at the end.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(preparation, "executor_of", lambda *_: executors.get("fake").build("cpu"))
    monkeypatch.setattr(repeats, "FEWEST", fewest)
    runs, shares = iter([run(1)[:1], run(2)[:1]]), tmp_path / "convbench" / "repeats.json"

    def measure(_prepared):
        if records := next(runs, None):
            return records
        assert shares.exists() == (fewest == 1), "kept before the next run"
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "measure_unstored", measure)
    done = in_process("selftest", "smoke", "reducer=gap", "--run", cwd=tmp_path)
    assert done.returncode == 130
    assert done.stdout == (
        "1 of 1 interval of two runs met (100.0 %, 95 %: 2.5 to 100.0 %); 0 of 0 pairs told apart by one run "
        "contradicted by the next\n"
        + (
            f"kept in {shares}\n"
            if fewest == 1
            else "not kept for reports: too few intervals, so give it more --minutes\n"
        )
    )
