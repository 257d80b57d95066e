"""The schedule: which case is visited when, on invented machines with their own clock."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from convbench.analysis.costs.headlines import headline_of, undecided_results
from convbench.analysis.results import results
from convbench.core import metrics, visits
from convbench.core.record import (
    FACTS,
    Choice,
    Disturbance,
    Failure,
    Finding,
    Protocol,
    Reading,
    Record,
    Training,
    Visit,
)
from convbench.runs.anchors import FIRST_ROUND, Anchors
from convbench.runs.executor import Host
from convbench.runs.probe_plan import ProbePlan, jobs
from convbench.runs.schedule import PlannedVisit, Schedule, cores_of, side_by_side
from convbench.runs.visit_log import VisitLog
from tests.records import case, lesson
from tests.records import record as measured

PROTOCOL = Protocol(visits=3)
CASES = [case("fc", size, variant=variant) for size in (8, 32, 128, 512) for variant in ("eager", "channels_last")]


class Machine:
    """A machine on which each case takes a known time; visits vary, and other programs may disturb them."""

    def __init__(self, seconds, spread=0.05, seed=0, disturbed=lambda _visit, _number: False, seconds_a_visit=1.0):
        self.seconds, self.spread, self.disturbed = seconds, spread, disturbed
        self.rng, self.clock, self.seconds_a_visit = np.random.default_rng(seed), 0.0, seconds_a_visit
        self.made = []

    def now(self):
        return self.clock

    def visit(self, planned):
        """Return the record of a visit, as the sweep stores it."""
        self.clock += self.seconds_a_visit
        self.made.append(planned)
        params = Reading(metrics.PARAMS, (float(planned.case.architecture.lstm_input),))
        if planned.round == FACTS:
            return Record(planned.case, "ok", (params,), visits=(Visit(FACTS),), environment="here")
        slow = self.disturbed(planned, len(self.made))
        latency = self.seconds[planned.case.id] * math.exp(self.rng.normal(0, self.spread)) * (20 if slow else 1)
        readings = (
            Reading(metrics.LATENCY, (latency,) * 20),
            Reading(metrics.REFERENCE, (1e-3 * (3 if slow else 1),) * 5),
            Reading(metrics.RUN_DELAY, (0.0,)),
        )
        conditions = {"threads": 1}
        return Record(
            planned.case, "ok", readings, visits=(Visit(planned.round),), conditions=conditions, environment="here"
        )

    def run(self, schedule, stop=None):
        lines = []
        for planned in schedule:
            record = self.visit(planned)
            schedule.log.add(record)
            lines.append(record)
            if stop is not None and len(lines) >= stop:
                break
        return visits.join_visits(lines)


def apart(step=0.5):
    """Return seconds by case id; each model is far slower than the one before."""
    return {model_case.id: 1e-3 * math.exp(step * i) for i, model_case in enumerate(CASES)}


def schedule(machine, protocol=PROTOCOL, cases=CASES, facts=True, **more):
    return Schedule(cases, protocol, facts, machine.now, **more)


def test_facts_come_first_then_whole_rounds():
    machine = Machine(apart(), spread=0.01)
    machine.run(schedule(machine))
    rounds = [planned.round for planned in machine.made]
    assert rounds == sorted(rounds)
    for number in (FACTS, 0, 1, 2):
        assert {p.case.id for p in machine.made if p.round == number} == {model_case.id for model_case in CASES}


def test_each_round_has_its_own_order_with_variants_together():
    machine = Machine(apart(), spread=0.01)
    machine.run(schedule(machine))
    orders = [[p.case for p in machine.made if p.round == number] for number in range(3)]
    assert len({tuple(model_case.id for model_case in order) for order in orders}) == 3
    for order in orders:
        assert all(order[i].architecture == order[i + 1].architecture for i in range(0, len(order), 2))


def test_no_case_is_visited_again_once_the_answer_is_settled():
    machine = Machine(apart(), spread=0.005)
    records = machine.run(schedule(machine))
    assert len(machine.made) == 4 * len(CASES)
    assert undecided_results(results(records)) == []


def test_further_visits_go_to_the_contenders():
    close = apart()
    first, second = CASES[0].id, CASES[2].id
    close[second] = close[first] * 1.12
    machine = Machine(close, spread=0.08)
    machine.run(schedule(machine, until_sure=True))
    again = [planned.case.id for planned in machine.made if planned.round > 2]
    assert {first, second} <= set(again)
    assert CASES[-1].id not in again


def test_until_sure_ends_with_an_answer_or_at_the_limit():
    close = dict.fromkeys((model_case.id for model_case in CASES), 1e-3)
    machine = Machine(close, spread=0.1)
    records = machine.run(schedule(machine, until_sure=True))
    assert undecided_results(results(records)) == [] or len(machine.made) <= 40 * len(CASES)


def test_until_sure_visits_a_case_at_most_forty_times():
    two = CASES[:3:2]
    machine = Machine(dict.fromkeys((model_case.id for model_case in two), 1e-3), spread=0.5)
    machine.run(schedule(machine, cases=two, until_sure=True))
    assert [sum(planned.case == model_case for planned in machine.made) for model_case in two] == [40, 40]


def test_until_sure_ends_although_an_executor_gives_no_more_records():
    """The same visits used to be handed out for ever."""
    two = CASES[:3:2]
    machine = Machine(dict.fromkeys((model_case.id for model_case in two), 1e-3), spread=0.5)
    planning = schedule(machine, cases=two, until_sure=True)
    made = []
    for planned in itertools.islice(planning, 100):
        made.append(planned)
        if planned.round < PROTOCOL.visits:
            planning.log.add(machine.visit(planned))
    assert len(made) == 2 * 40


def test_ten_contenders_are_visited_before_the_answer_is_worked_out_again():
    """The last visit of a round waits for the others if the next ones depend on the answer."""
    cases = [case("fc", 8 * size) for size in range(1, 13)]
    machine = Machine(dict.fromkeys((model_case.id for model_case in cases), 1e-3), spread=0.3)
    planning, rounds, open_counts = schedule(machine, cases=cases), {}, set()
    for planned in planning:
        rounds.setdefault(planned.round, []).append(planned.decides)
        open_counts.add((planned.round > 2, len(planning.state.open)))
        planning.log.add(machine.visit(planned))
    last_of = {count: [False] * (count - 1) + [True] for count in (10, 12)}
    assert rounds == {
        FACTS: last_of[12],
        0: [False] * 12,
        1: [False] * 12,
        2: last_of[12],
        3: last_of[10],
        4: last_of[10],
    }
    assert open_counts == {(False, 0), (True, 10)}


def test_until_sure_adds_no_visits_to_single_visits():
    """It used to add visits without end, because each further visit was round 0 as well."""
    machine = Machine(dict.fromkeys((model_case.id for model_case in CASES), 1e-3), spread=0.1)
    machine.run(schedule(machine, replace(PROTOCOL, visits=1), until_sure=True))
    assert len(machine.made) == len(CASES)


def test_without_a_budget_at_most_half_as_many_visits_follow():
    close = dict.fromkeys((model_case.id for model_case in CASES), 1e-3)
    machine = Machine(close, spread=0.5)
    machine.run(schedule(machine))
    assert len(machine.made) <= (1 + 3 + 1.5) * len(CASES) + len(CASES)


def test_a_budget_ends_the_run_after_its_first_round():
    machine = Machine(apart(), spread=0.3)
    machine.run(schedule(machine, replace(PROTOCOL, budget=5.0)))
    assert [planned.round for planned in machine.made].count(0) == len(CASES)
    assert max(planned.round for planned in machine.made) == 0


def test_a_budget_is_spent_while_the_answer_is_open():
    close = dict.fromkeys((model_case.id for model_case in CASES), 1e-3)
    machine = Machine(close, spread=0.3)
    machine.run(schedule(machine, replace(PROTOCOL, budget=100.0)))
    assert 100 <= machine.clock <= 100 + len(CASES)


def test_disturbed_visits_are_repeated():
    bad = CASES[3].id
    machine = Machine(apart(), spread=0.01, disturbed=lambda p, _: p.case.id == bad and p.round == 1)
    records = {record.case.id: record for record in machine.run(schedule(machine))}
    assert [visit.is_sound for visit in records[bad].visits if visit.is_timed] == [True, False, True, True]
    assert results([records[bad]])[0].latency.median == pytest.approx(apart()[bad], rel=0.05)


@pytest.mark.parametrize("fails", [True, False])
def test_a_failed_or_lost_case_does_not_block_the_contenders(fails):
    bad, close = CASES[-1].id, apart()
    close[CASES[2].id] = close[CASES[0].id] * 1.12

    class Failing(Machine):
        def visit(self, planned):
            record = super().visit(planned)
            fails_now = fails and planned.case.id == bad and planned.round == 3
            failed = {"status": "failed", "readings": (), "visits": (Visit(planned.round, failure="crash"),)}
            return replace(record, **failed) if fails_now else record

    def lost() -> tuple[str, ...]:
        return () if fails or len(machine.made) < 4 * len(CASES) else (bad,)

    machine = Failing(close, spread=0.08, disturbed=lambda p, _: p.case.id == bad and p.round == 1)
    machine.run(schedule(machine, until_sure=True, lost=lost))
    again = [planned.case.id for planned in machine.made if planned.round > 2]
    assert {CASES[0].id, CASES[2].id} <= set(again)
    assert again.count(bad) == fails


def test_lost_contenders_take_no_place_among_the_contenders():
    cases = [case("fc", 8 * size) for size in range(1, 13)]
    lost = [model_case.id for model_case in cases[:10]]
    close = {model_case.id: 1e-3 if model_case.id in lost else 1.1e-3 for model_case in cases}
    machine = Machine(close, spread=0.05)
    whole = 4 * len(cases)
    machine.run(schedule(machine, cases=cases, lost=lambda: lost if len(machine.made) >= whole else ()))
    again = {planned.case.id for planned in machine.made[whole:]}
    assert again
    assert again <= {model_case.id for model_case in cases[10:]}


def test_a_case_that_was_always_disturbed_is_withheld():
    bad = CASES[0].id
    machine = Machine(apart(), spread=0.01, disturbed=lambda p, _: p.case.id == bad)
    records = machine.run(schedule(machine))
    case_results = {result.case.id: result for result in results(records)}
    assert case_results[bad].latency is None
    [finding] = [candidate for candidate in case_results[bad].record.findings if candidate.code == "withheld"]
    assert finding.data["visits"] == 6
    ranking = headline_of(list(case_results.values())).ranking
    assert ranking
    assert bad not in {contender.result.case.id for contender in ranking}


@pytest.mark.parametrize(("until_sure", "again"), [(False, 0), (True, 3)])
def test_until_sure_retries_a_case_that_was_always_disturbed(until_sure, again):
    """The command that the page suggests for such a case used to make no visit."""
    bad = CASES[0].id
    busy, quiet = Machine(apart(), 0.01, disturbed=lambda p, _: p.case.id == bad), Machine(apart(), 0.01)
    following = schedule(quiet, until_sure=until_sure)
    for record in busy.run(schedule(busy)):
        following.log.add(record)
    for planned in following:
        following.log.add(quiet.visit(planned))
    assert [planned.case.id for planned in quiet.made] == [bad] * again
    latencies = {result.case.id: result.latency for result in results(following.log.records())}
    assert (latencies[bad] is None) != until_sure


def test_one_bad_minute_changes_no_answer():
    """Twelve visits in a row take twenty times as long, in any round."""
    for start in range(8, 30, 7):
        machine = Machine(apart(0.3), 0.02, disturbed=lambda _, n, s=start: s <= n < s + 12)
        records = machine.run(schedule(machine))
        for result in results(records):
            assert result.latency
            assert result.latency.low <= apart(0.3)[result.case.id] * 1.02
            assert result.latency.high >= apart(0.3)[result.case.id] * 0.98


@pytest.mark.parametrize("stop", [9, 12, 17, 23, 31])
def test_an_interrupted_run_has_intervals_that_hold(stop):
    covered = []
    for seed in range(20):
        machine = Machine(apart(0.1), spread=0.1, seed=seed)
        records = machine.run(schedule(machine), stop)
        timed = [result for result in results(records) if result.latency]
        covered += [r.latency.low <= apart(0.1)[r.case.id] <= r.latency.high for r in timed]
    assert np.mean(covered) >= 0.92


def test_a_resumed_run_makes_only_the_missing_visits():
    machine = Machine(apart(), spread=0.01)
    done = machine.run(schedule(machine), stop=13)
    again = schedule(machine)
    for record in done:
        again.log.add(record)
    machine.run(again)
    visit_keys = [(planned.case.id, planned.round) for planned in machine.made]
    assert len(visit_keys) == len(set(visit_keys)) == 4 * len(CASES)


@pytest.mark.parametrize(("visits", "first"), [(1, 0), (2, FACTS)])
def test_facts_have_visits_of_their_own_if_a_case_is_visited_more_than_once(visits, first):
    assert next(iter(schedule(Machine(apart()), replace(PROTOCOL, visits=visits)))).round == first


def test_a_resumed_run_does_not_repeat_metrics_measured_once():
    machine = Machine(apart(), spread=0.01)
    again = schedule(machine)
    for record in machine.run(schedule(machine), stop=2 * len(CASES)):
        again.log.add(record)
    job = next(iter(jobs(again, ProbePlan(("params",), ("latency", "stages")), (0, 1))))
    assert (job.visit, job.metrics) == (1, ("latency",))


def test_anchors_are_reselected_until_there_are_three():
    log, machine, found = VisitLog(), Machine(apart()), []
    anchors, hosts = Anchors(log), [Host(name, {}, "here", 0) for name in ("a", "b")]
    log.add(machine.visit(PlannedVisit(CASES[1], 0)))  # no eager case
    log.add(replace(machine.visit(PlannedVisit(CASES[6], 0)), environment="elsewhere"))
    assert list(anchors.missing(CASES, hosts)) == []
    for eager in CASES[::2]:
        log.add(machine.visit(PlannedVisit(eager, 0)))
        found.append(len({anchor.id for anchor, _, _ in anchors.missing(CASES, hosts)}))
    assert found == [1, 1, 1, 0]


@pytest.mark.parametrize(("budget", "anchor_visits"), [(None, 2 * 3), (5.0, 0)])
def test_hosts_visit_anchors_after_the_last_round_unless_the_budget_is_spent(budget, anchor_visits):
    machine, hosts = Machine(apart(), spread=0.01), [Host(name, {}, "here", 0) for name in ("a", "b")]
    machine.run(schedule(machine, replace(PROTOCOL, visits=1, budget=budget), hosts=lambda: hosts))
    to_anchors = [(planned.host, planned.case.id) for planned in machine.made if planned.round >= FIRST_ROUND]
    assert len(set(to_anchors)) == len(to_anchors) == anchor_visits
    assert len(machine.made) == len(CASES) + anchor_visits


@pytest.mark.parametrize(("host_count", "first"), [(1, 4 * 8), (2, 8)])
def test_trainings_follow_the_facts_on_several_hosts_and_the_rounds_on_one(host_count, first):
    """No training is handed out twice, even if none has ended before the rounds have."""
    trials = [lesson(0.8, seed=seed).case for seed in range(3)]
    machine, hosts = Machine(apart(), spread=0.005), [Host(f"{number}", {}, "here", 0) for number in range(host_count)]
    planning, order = schedule(machine, cases=[*CASES, *trials], hosts=lambda: hosts), []
    for planned in planning:
        order.append(planned.case.trial is not None)
        assert planning.state.trainings == (3 if order[-1] else 0)
        assert host_count > 1 or planning.state.round == planned.round
        if not order[-1]:
            planning.log.add(machine.visit(planned))
    assert [place for place, is_training in enumerate(order) if is_training] == [first, first + 1, first + 2]


def test_a_failed_case_is_not_visited_again():
    class Failing(Machine):
        def visit(self, planned):
            record = super().visit(planned)
            return replace(record, status="failed", readings=()) if planned.case.id == CASES[1].id else record

    machine = Failing(apart(), spread=0.01)
    machine.run(schedule(machine))
    assert [planned.round for planned in machine.made if planned.case.id == CASES[1].id] == [FACTS]


def test_the_last_facts_visit_waits_for_the_others():
    """A case used to get its place in the first round while its facts were still being measured."""
    planning = schedule(Machine(apart()))
    facts = [planned.decides for planned in itertools.islice(planning, len(CASES))]
    assert facts == [False] * (len(CASES) - 1) + [True]


def test_failed_facts_overrule_the_timings_of_a_case():
    machine = Machine(apart())
    lines = [machine.visit(PlannedVisit(CASES[0], number)) for number in (FACTS, 0, 1)]
    wrong = replace(
        lines[0], status="failed", readings=(), failure=Failure("wrong output", "differs from eager's output")
    )
    [record] = visits.join_visits([wrong, *lines[1:]])
    assert (record.status, record.failure, record.readings) == ("failed", wrong.failure, ())


def test_a_failed_visit_after_good_visits_is_a_finding():
    machine = Machine(apart())
    first, second = (machine.visit(PlannedVisit(CASES[0], number)) for number in (0, 1))
    crash = Visit(1, failure="crash: killed by SIGSEGV")
    [record] = visits.join_visits([first, replace(second, status="failed", readings=(), visits=(crash,))])
    assert record.status == "ok"
    assert [(finding.code, dict(finding.data)) for finding in record.findings] == [
        ("visit_failed", {"reason": "crash: killed by SIGSEGV"})
    ]
    assert visits.join_visits([record]) == [record]
    failed = replace(second, status="failed", readings=(), visits=(Visit(0, failure="x"),))
    [record] = visits.join_visits([failed, first])
    assert (record.status, len(record.visits)) == ("ok", 2)
    [record] = visits.join_visits([failed])
    assert (record.status, record.findings) == ("failed", ())


def line(number, latency=1e-3, reference=1e-3, delay=0.0, steal=0.0, codes=(), threads=1):
    """Return a stored line: one visit of one case, beside the reference workload."""
    values = {metrics.LATENCY: latency, metrics.REFERENCE: reference, metrics.RUN_DELAY: delay, metrics.STEAL: steal}
    readings = tuple(Reading(metric, (value,)) for metric, value in values.items() if value is not None)
    return Record(
        CASES[0], "ok", readings, tuple(Finding(code) for code in codes), visits=(Visit(number),), seconds=2.0,
        conditions={"threads": threads}, environment="here",
    )  # fmt: skip


def test_a_joined_case_has_the_first_start_a_timed_visits_state_and_each_visits_times():
    params = Reading(metrics.PARAMS, (7,))
    facts = replace(line(FACTS, None, None, threads=9), readings=(params,), started="2026-11-29T12:00:00Z")
    crashed = replace(line(1), status="failed", readings=())
    last = line(2, 3e-3)
    lines = [facts, replace(line(0, 2e-3), started="later"), crashed, replace(last, readings=(params, *last.readings))]
    [record] = visits.join_visits([*lines, replace(line(3), visits=())])
    assert (record.started, record.conditions, record.seconds) == (facts.started, {"threads": 1}, 8.0)
    assert record.reading(metrics.LATENCY).by_visit() == [(), (2e-3,), (), (3e-3,)]
    assert record.by_visit(metrics.LATENCY) == {0: (2e-3,), 2: (3e-3,)}
    assert record.reading(metrics.PARAMS) == params


def test_of_records_without_visits_the_first_that_is_ok_counts():
    older = replace(line(0), visits=())
    failed = replace(older, status="failed", readings=())
    assert visits.join_visits([failed, older, replace(older, seconds=9.0)]) == [older]
    assert visits.join_visits([failed, replace(failed, seconds=9.0)]) == [failed]


@pytest.mark.parametrize(
    ("odd", "disturbance"),
    [
        ({"reference": 1.59e-3}, ""),
        ({"reference": 1.61e-3}, Disturbance("slow-machine", 1.6)),
        ({"steal": 0.05}, ""),
        ({"steal": 0.051}, Disturbance("host", 0.06)),
        ({"delay": 0.9}, ""),  # what a single thread waits is taken off its times
        ({"delay": 0.9, "threads": None}, ""),
        ({"delay": 0.02, "threads": 2}, ""),
        ({"delay": 0.021, "threads": 2}, Disturbance("other-processes", 0.03, 2)),
        ({"delay": 1.4, "threads": 2}, Disturbance("other-processes", 1.0, 2)),
    ],
)
def test_a_disturbed_visit_says_what_disturbed_it(odd, disturbance):
    threads = odd.get("threads", 1)
    lines = [line(number, threads=threads) for number in range(3)]
    [record] = visits.join_visits([*lines, line(3, **odd)])
    assert [visit.disturbed for visit in record.visits] == ["", "", "", disturbance]
    assert (record.seconds, record.findings) == (8.0, ())


def test_a_case_without_an_undisturbed_visit_is_withheld_for_the_most_frequent_reason():
    stolen = [line(number, steal=share) for number, share in enumerate((0.3, 0.2, 0.2))]
    [record] = visits.join_visits(stolen)
    (withheld,) = record.findings
    assert (withheld.code, withheld.data) == (
        "withheld",
        {"visits": 3, "threads": 1, "disturbed_cause": "host", "disturbed_amount": 0.2, "disturbed_threads": 1},
    )  # fmt: skip
    assert record.samples(metrics.LATENCY) == ()
    assert visits.join_visits([record]) == [record]
    [record] = visits.join_visits([replace(line(FACTS), readings=()), *stolen])
    assert record.findings == (withheld,), "a visit without times saves no times"
    [record] = visits.join_visits([*stolen, line(3)])
    assert (record.samples(metrics.LATENCY), record.findings) == ((1e-3,), ())
    [record] = visits.join_visits([replace(line(0), visits=(Visit(0, failure="crash: killed"),))])
    assert record.findings[0].data["reason"] == "crash: killed", (
        "its times count no more than those of a disturbed visit"
    )


def test_processes_at_two_speeds_are_noted_from_undisturbed_visits():
    speeds = (2.0e-3, 1e-3, 2.02e-3, 1.01e-3)
    [record] = visits.join_visits(
        [*(line(number, value) for number, value in enumerate(speeds)), line(4, 9e-3, steal=1.0)]
    )
    assert record.findings == (Finding("two_speeds", "note", {"fast": 1e-3, "slow": 2.02e-3}),)
    [record] = visits.join_visits([line(number, value) for number, value in enumerate(speeds[:3])])
    assert record.findings == ()


def test_a_finding_of_timing_stays_if_half_of_the_timed_visits_have_it():
    facts = replace(line(FACTS, None, codes=("folds_into_lstm",)), readings=())
    timed = [line(0, codes=("page_faults",)), line(1, codes=("page_faults", "not_steady")), line(2), line(3)]
    [record] = visits.join_visits([facts, *timed])
    assert sorted(finding.code for finding in record.findings) == ["folds_into_lstm", "page_faults"]
    numbered = [replace(line(number), findings=(Finding("page_faults", data={"n": number}),)) for number in range(2)]
    assert visits.join_visits(numbered)[0].findings == numbered[0].findings


def test_the_machines_speed_is_that_of_the_best_quarter():
    assert visits.at_better_moments([5.0, 1.0, 4.0, 2.0, 3.0]) == 2.0
    assert visits.at_better_moments([4.0, 1.0, 3.0, 2.0]) == 1.0
    assert visits.at_better_moments([]) == 0.0
    lines = [line(number, reference=(number + 1) * 1e-3) for number in range(5)]
    assert list(visits.reference_levels([*lines, replace(lines[0], visits=())]).values()) == [2e-3]
    assert list(visits.reference_levels([line(0, reference=None)]).values()) == [0.0]
    assert list(visits.reference_levels([line(0), line(0, reference=5e-4, threads=2)]).values()) == [1e-3, 5e-4]


def test_ten_runs_nearly_always_give_the_same_pick():
    picks = []
    for seed in range(10):
        machine = Machine(apart(0.25), spread=0.08, seed=seed)
        picks.append(headline_of(results(machine.run(schedule(machine)))).pick.case.architecture)
    assert max(picks.count(pick) for pick in picks) >= 9


def test_variants_of_one_model_are_visited_together():
    import random

    order = side_by_side([case("gap"), case("fc", 8), case("gap", variant="compile")], random.Random(1))
    models = [model_case.architecture.reducer.name for model_case in order]
    assert models in (["gap", "gap", "fc"], ["fc", "gap", "gap"])


def test_cores_alternate_by_round():
    assert [cores_of(CASES[0], number, (0, 1)) for number in range(3)] == [(0,), (1,), (0,)]


def test_a_case_gets_one_core_per_thread():
    two = replace(CASES[0], threads=2)
    assert cores_of(two, 1, (0, 1, 2, 3)) == (1, 2)
    assert cores_of(two, 3, (0, 1, 2, 3)) == (3, 0)
    assert cores_of(replace(two, threads=4), 1, (0, 1, 2, 3)) == ()
    assert cores_of(two, 1, ()) == ()
    assert cores_of(replace(two, device="cuda"), 1, (0, 1, 2, 3)) == ()


def test_a_case_without_a_trial_is_visited_in_every_round():
    untried = replace(CASES[0], scenario="learn", trial=None, variant=(Choice("x"),))
    machine = Machine(apart() | {untried.id: 1e-3}, spread=0.01)
    machine.run(schedule(machine, cases=[untried], facts=False))
    assert [planned.round for planned in machine.made][:3] == [0, 1, 2]


def test_until_sure_trains_more_seeds_while_the_recommendation_is_open():
    rng, models = np.random.default_rng(2), [case("fc", size) for size in (8, 16)]

    def train(of, seed, look=1):
        mean = 0.85 if of.architecture.lstm_input == 8 else 0.9
        done = lesson(mean + rng.normal(0, 0.03), seed=seed, of=of)
        return replace(done, conditions={"look": look} if look > 1 else {})

    first = [train(of, seed) for of in models for seed in range(3)]
    schedule = Schedule([record.case for record in first], PROTOCOL, False, lambda: 0.0, until_sure=True)
    for line in [*(measured(of) for of in models), *first]:
        schedule.log.add(line)
    planned, ends = [], []
    for visit in schedule:
        planned.append((visit.case.trial.seed, schedule.state.look))
        ends.append(visit.decides)
        model_case = replace(visit.case, trial=None, scenario="inference")
        schedule.log.add(train(model_case, visit.case.trial.seed, schedule.state.look))
    assert schedule.state.unplanned
    assert planned[0] == (3, 2)
    last = [a != b for a, b in pairwise([look for _, look in planned] + [0])]
    assert ends == last, "the last training of a look decides what the next one asks for"
    assert len(set(planned)) == len(planned) / 2
    assert Schedule([record.case for record in first], PROTOCOL, False, lambda: 0.0).state.look == 1


def test_later_seeds_use_the_best_rate_of_the_finished_trainings():
    models, rates = [case("fc", size) for size in (8, 16)], (5e-4, 2e-3)
    best = {8: 5e-4, 16: 2e-3}
    trials = [lesson(0.8, seed=seed, rate=rate, of=of).case for seed in range(4) for of in models for rate in rates]
    planning = Schedule(trials, replace(PROTOCOL, training=Training(rate_seeds=2)), False, lambda: 0.0)
    visit_rows = []
    for planned in planning:
        trial, size = planned.case.trial, planned.case.architecture.lstm_input
        visit_rows.append((trial.seed, size, trial.learning_rate, planned.decides, planning.state.unplanned))
        val = 0.9 if trial.learning_rate == best[size] else 0.6
        planning.log.add(lesson(0.8, seed=trial.seed, rate=trial.learning_rate, val=val, of=case("fc", size)))
    assert [visit[:3] for visit in visit_rows[:8]] == [
        (seed, size, rate) for seed in (0, 1) for size in best for rate in rates
    ]
    assert [visit[3] for visit in visit_rows] == [False] * 7 + [True] + [False] * 4
    assert [visit[:3] for visit in visit_rows[8:]] == [(seed, size, best[size]) for seed in (2, 3) for size in best]
    assert [visit[4] for visit in visit_rows] == [False] * 8 + [True] * 4


def test_a_budget_reaches_the_planned_trainings_before_it_is_spent_on_further_visits():
    """Five cases that tied were visited 35 times each, and 54 of 70 trainings were not made."""
    machine = Machine(dict.fromkeys(apart(), 1e-3), spread=0.2)
    lessons = {record.case: record for record in (lesson(0.8, seed=seed) for seed in range(20))}
    planning = schedule(machine, replace(PROTOCOL, budget=100.0), [*CASES, *lessons])
    for planned in planning:
        planning.log.add(lessons[planned.case] if planned.case.trial else machine.visit(planned))
        machine.clock += 1.0 if planned.case.trial else 0.0
        machine.made += [planned] if planned.case.trial else []
    trains = [planned.case.trial is not None for planned in machine.made]
    first, last = trains.index(True), len(trains) - trains[::-1].index(True)
    assert all(trains[first:last]) and sum(trains) == 20
    assert first <= len(CASES) * (1 + 3 * 1.5) + 10
    assert len(trains) == 100, "the time left goes to the contenders"


@pytest.mark.parametrize("until_sure", [False, True])
def test_the_last_planned_training_decides_only_if_more_may_follow(until_sure):
    trials = [lesson(0.8, seed=seed).case for seed in range(3)]
    planning = Schedule(trials, PROTOCOL, False, lambda: 0.0, until_sure=until_sure)
    assert [planned.decides for planned in itertools.islice(planning, 3)] == [False, False, until_sure]


def test_until_sure_with_a_budget_reaches_the_planned_trainings_first():
    machine = Machine(dict.fromkeys(apart(), 1e-3), spread=0.2)
    protocol, trial = replace(PROTOCOL, budget=1000.0), lesson(0.8).case
    planning = schedule(machine, protocol, [*CASES, trial], until_sure=True)
    for planned in itertools.takewhile(lambda planned: not planned.case.trial, planning):
        planning.log.add(machine.visit(planned))
    assert len(machine.made) <= len(CASES) * (1 + 3 * 1.5) + 10


def test_a_spent_budget_ends_trainings_too():
    """Trainings used to go on for hours after ``--budget 5m``."""
    lessons = {record.case: record for record in (lesson(0.8, seed=seed) for seed in range(4))}
    made: list = []
    seconds_left = []
    for planned in (planning := Schedule([*lessons], replace(PROTOCOL, budget=2.0), False, lambda: float(len(made)))):
        assert (planning.state.trainings, planning.state.visits, planning.state.following) == (4, 4, 0)
        seconds_left.append(planning.state.budget_left)
        planning.log.add(lessons[planned.case])
        made.append(planned.case)
    assert made == [*lessons][:2]
    assert [*seconds_left, planning.state.budget_left] == [2.0, 1.0, 0.0]


def test_a_stage_knows_its_number_of_visits():
    machine = Machine(apart() | {CASES[2].id: 1.12e-3}, spread=0.08)  # cannot yet be told from the fastest
    planning = schedule(machine)
    expected = {FACTS: (8, 0), 0: (8, 16), 1: (8, 8), 2: (8, 0), 3: (2, 0)}
    for planned in planning:
        state = planning.state
        assert (state.round, state.hosts) == (planned.round, 1)
        assert (state.visits, state.following) == expected.get(planned.round, (len(state.open), 0))
        planning.log.add(machine.visit(planned))
    assert max(planned.round for planned in machine.made) >= 3
