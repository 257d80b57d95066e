"""Test the driver on invented hosts: no visit is lost or repeated, sweeps end, and variants of a model share a host."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from convbench import suite as suites
from convbench.cli.ending import code_of
from convbench.core import git, metrics, package
from convbench.core.errors import CaseFailed, ConvbenchError, Impossible, Unavailable
from convbench.core.record import FACTS, Case, Choice, Clip, Parts, Protocol, Reading, Record, Recurrent, Trial, Whole
from convbench.core.registry import reducers
from convbench.core.storage import profiles
from convbench.measure.attempts import failed_record
from convbench.measure.traces.capture import Capture
from convbench.plugins.executors import ray, slurm
from convbench.plugins.executors.fake import invented
from convbench.runs import user_code
from convbench.runs.anchors import FIRST_ROUND
from convbench.runs.cluster import mailbox, rounds
from convbench.runs.cluster.driver import Driver
from convbench.runs.cluster.engine import Absent, Beat, Done, Event, Limits, Lost, Piece
from convbench.runs.cluster.executor import Cluster
from convbench.runs.cluster.hosts import Groups
from convbench.runs.cluster.open_jobs import OpenJobs
from convbench.runs.cluster.roll import Roll, correct_record
from convbench.runs.cluster.worker import _become, _host_name, spec
from convbench.runs.executor import Host, Job
from convbench.runs.probe_plan import ProbePlan, jobs, visit_record
from convbench.runs.schedule import Schedule
from tests.invented_cluster import Costs, Invented, Machine, timed

PROTOCOL = Protocol(visits=3, timeout=60)
PLAN = ProbePlan(("params",), ("latency",))


def case(reducer="gap", size=32, *, variant="", hidden=64, **more) -> Case:
    variants = (Choice(variant),) if variant else ()
    return Case(
        Parts(Choice("conv"), Choice(reducer), size, Recurrent(hidden=hidden)), Clip(1, 2, 3, 8, 8), variants, **more
    )


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Case:
    """A case that needs 4 GiB; all others need 1 MiB."""
    large = case("flatten", None)
    monkeypatch.setattr("convbench.measure.preflight.needed_bytes", lambda case: 2**32 if case == large else 2**20)
    return large


def suite(*, reducers=("gap", "fc", "gmp"), sizes=(8, 16, 32, 64), hidden=(32, 64)) -> list[Case]:
    return [
        case(reducer, size, variant=variant, hidden=width)
        for reducer in reducers for size in sizes for variant in ("", "channels_last") for width in hidden
    ]  # fmt: skip


def trials(number: int) -> list[Case]:
    return [case(trial=Trial(Choice("order"), seed=seed, learning_rate=1e-3)) for seed in range(number)]


class Sweep:
    """A sweep over invented machines, set up as in ``runs.sweep``, and the records that it made."""

    def __init__(self, cases, machines, *, costs=None, limits=None, answer=None, protocol=PROTOCOL, done=()):
        self.cases, self.protocol = cases, protocol
        options = {"answer": answer} if answer else {}
        self.engine = Invented(machines, costs or Costs(), **options)
        self.driver = Driver(self.engine, limits or Limits(), self.engine.clock)
        self.records = []
        self.schedule = Schedule(
            cases, protocol, True, self.engine.clock, hosts=lambda: self.driver.hosts, lost=lambda: self.driver.lost
        )
        for record in done:
            self.schedule.log.add(record)
        self.driver.groups.know(done)

    def __iter__(self):
        self.driver.hosts  # noqa: B018 (waits for them)
        for job, measured_record in self.driver.run(jobs(self.schedule, PLAN, (0, 1))):
            record = visit_record(job, measured_record)
            self.schedule.log.add(record)
            self.records.append((job, record))
            yield record

    def run(self):
        list(self)
        return self

    @property
    def made(self) -> Counter:
        return Counter((job.case.id, job.visit) for job, _ in self.records)

    def whole(self, *, but=()) -> bool:
        """Whether every case, except those in ``but``, has its facts and all its rounds exactly once."""
        rounds = [FACTS, *range(self.protocol.visits)]
        expected = {
            (planned_case.id, number)
            for planned_case in self.cases
            if not planned_case.trial and planned_case.id not in but
            for number in rounds
        }
        expected |= {
            (planned_case.id, 0) for planned_case in self.cases if planned_case.trial and planned_case.id not in but
        }
        return expected <= set(self.made) and max(self.made.values()) == 1


def machines(number: int, **more) -> list[Machine]:
    return [Machine(f"host-{at}", **more) for at in range(number)]


# --- Pieces -----------------------------------------------------------------------------------------------------------


def test_each_job_is_in_one_piece_beside_its_variants() -> None:
    all_jobs = [Job(planned_case, PROTOCOL, visit=1) for planned_case in suite()]
    for hosts in (1, 2, 4, 64):
        cut = list(rounds.cut(all_jobs, hosts, lambda _: 1.0))
        assert sorted(map(id, (job for piece in cut for job in piece))) == sorted(map(id, all_jobs))
        for model in {job.case.eager for job in all_jobs}:
            assert sum(any(job.case.eager == model for job in piece) for piece in cut) == 1, "variants stay together"
        for piece in cut:
            assert len({job.case.situation for job in piece}) == 1
    assert len(list(rounds.cut(all_jobs, 1, lambda _: 1.0))) == 2, "one host takes whole situations"
    assert len(list(rounds.cut(all_jobs, 64, lambda _: 1.0))) == 24, "many hosts take models"


def test_each_trial_is_a_piece_of_its_own() -> None:
    assert [len(piece) for piece in rounds.cut([Job(trial, PROTOCOL) for trial in trials(5)], 2, lambda _: 1.0)] == [
        1
    ] * 5


# --- Sweeps without faults --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 7])
def test_every_visit_is_made_once_on_any_number_of_hosts(number: int) -> None:
    sweep = Sweep([*suite(), *trials(6)], machines(number)).run()
    assert sweep.whole()
    assert {record.visits[0].host for job, record in sweep.records if not job.case.trial} == {
        host.name for host in sweep.driver.hosts
    }


def test_a_host_measures_one_case_at_a_time_facts_first() -> None:
    sweep = Sweep(suite(), machines(3)).run()
    facts = {job.case.id: number for number, (job, _) in enumerate(sweep.records) if job.visit == FACTS}
    for number, (job, _) in enumerate(sweep.records):
        assert facts[job.case.id] <= number
    by_host = defaultdict(list)
    for name, _, at in sweep.engine.visits:
        by_host[name].append(at)
    assert all(later - earlier >= 1.0 - 1e-9 for times in by_host.values() for earlier, later in pairwise(times))


def test_variants_of_a_model_share_a_host_in_each_round() -> None:
    sweep = Sweep(suite(), machines(4)).run()
    homes = defaultdict(set)
    for job, record in sweep.records:
        if 0 <= job.visit < FIRST_ROUND:
            homes[job.case.eager.id, job.visit].add(record.visits[0].host)
    assert all(len(hosts) == 1 for hosts in homes.values())


def test_trials_wait_for_timed_cases_and_fill_the_gaps() -> None:
    sweep = Sweep([*suite(hidden=(32,)), *trials(20)], machines(4)).run()
    assert sweep.whole()
    order = [job.case.trial is not None for _, job, _ in sweep.engine.visits]
    assert not any(order[:20])
    spans = sweep.engine.now
    assert sweep.engine.busy / (4 * spans) > 0.8


def test_each_host_visits_the_anchors_once() -> None:
    cases = suite()
    truth = {planned_case.id: 0.001 * (number + 1) for number, planned_case in enumerate(cases)}
    hosts = machines(5)
    sweep = Sweep(cases, hosts)
    sweep.engine.answer = timed(truth, {host.name: lambda _: 1.0 for host in hosts}, sweep.engine.clock)
    sweep.run()
    anchors = Counter(record.visits[0].host for job, record in sweep.records if job.visit >= FIRST_ROUND)
    assert anchors == {host.name: 3 for host in hosts}
    assert sweep.whole()


# --- Kinds of hosts ---------------------------------------------------------------------------------------------------


def test_a_ranking_never_mixes_two_kinds_of_hosts() -> None:
    sweep = Sweep(
        suite(hidden=(16, 32, 64)), [*machines(3), Machine("other-1", kind="b"), Machine("other-2", kind="b")]
    ).run()
    assert sweep.whole()
    environments = defaultdict(set)
    for job, record in sweep.records:
        environments[job.case.situation].add(record.environment)
    assert all(len(names) == 1 for names in environments.values())
    assert len(set.union(*environments.values())) == 2, "both kinds work"


def test_the_larger_group_measures_the_ranking_and_all_hosts_train() -> None:
    odd = Machine("odd", kind="b")
    sweep = Sweep([*suite(hidden=(16,)), *trials(12)], [*machines(3), odd]).run()
    assert sweep.whole()
    assert {job.case.trial is not None for name, job, _ in sweep.engine.visits if name == "odd"} == {True}


def test_a_threaded_case_runs_on_hosts_with_enough_cores() -> None:
    """These cases used to run on both kinds of hosts, on one of them with twice as many threads as cores."""
    threads = [replace(planned_case, threads=4) for planned_case in suite(hidden=(16,))]
    sweep = Sweep(threads, [*machines(3), Machine("many", kind="b", cores=4)]).run()
    assert sweep.whole()
    assert {name for name, _, _ in sweep.engine.visits} == {"many"}
    assert Sweep(threads, machines(2)).run().whole(), "more than any has, as on one machine"


def test_a_case_that_no_host_can_measure_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    large = case("flatten", None)
    monkeypatch.setattr("convbench.measure.preflight.needed_bytes", lambda case: 2**40 if case == large else 2**20)
    small = [Machine("small-1", memory=2**31), Machine("small-2", memory=2**31)]
    gpu = case(device="cuda")
    sweep = Sweep(
        [large, gpu, *suite(hidden=(16,))], [Machine("large", memory=2**33, dies=0.5), *small], limits=Limits(start=30)
    )
    with pytest.raises(ConvbenchError, match=r"could measure 1 of the cases were lost.*--resume"):
        sweep.run()
    kinds = {record.case.id: record for _, record in sweep.records if record.status != "ok"}
    assert set(kinds) == {gpu.id}
    assert "have no cuda" in kinds[gpu.id].failure.message
    assert sweep.engine.visits


def test_a_case_goes_only_to_hosts_with_enough_memory(large: Case) -> None:
    sweep = Sweep([large, *suite(hidden=(16,))], [Machine("small", memory=2**31), Machine("large", memory=2**33)]).run()
    assert sweep.whole()
    assert {name for name, job, _ in sweep.engine.visits if job.case == large} == {"large"}


def test_the_largest_case_decides_where_its_ranking_is_measured(large: Case) -> None:
    """The first case used to decide where the ranking was measured, and the run ended as if hosts had been lost."""
    hosts = [*(Machine(f"small-{at}", memory=2**31) for at in range(3)), Machine("b", kind="large", memory=2**33)]
    sweep = Sweep([*suite(hidden=(64,)), large], hosts).run()
    assert sweep.whole()
    timed = {name for name, job, _ in sweep.engine.visits if job.takes_times}
    assert timed == {"b"}


@pytest.mark.parametrize("start", [30, 3000])
def test_a_case_that_only_a_lost_host_could_measure_holds_up_no_other_case(large: Case, start: int) -> None:
    """Many models of one situation run on hosts of one kind; the only host with room for the largest model is lost."""
    hosts = [Machine("large", memory=2**33, dies=0.5), *(Machine(f"small-{at}", memory=2**31) for at in range(2))]
    sweep = Sweep([*suite(sizes=tuple(range(8, 24)), hidden=(64,)), large], hosts, limits=Limits(start=start))
    with pytest.raises(ConvbenchError, match=r"could measure 1 of the cases were lost.*--resume"):
        sweep.run()
    assert sweep.whole(but={large.id})
    assert max(at for _, job, at in sweep.engine.visits if job.visit < PROTOCOL.visits) < 1000


def test_a_case_too_large_for_its_rankings_hosts_is_skipped(large: Case) -> None:
    """If an earlier run had measured the other cases, each --resume used to end as if hosts had been lost."""
    small = [Machine(f"small-{at}", memory=2**31) for at in range(2)]
    others = suite(hidden=(64,))
    done = [record for _, record in Sweep(others, small).run().records]
    again = Sweep([*others, large], [*small, Machine("b", kind="large", memory=2**33)], done=done).run()
    (skipped,) = [record for _, record in again.records if record.status != "ok"]
    assert skipped.case == large
    assert "none of the 2 hosts of the kind that measures its ranking can" in skipped.failure.message
    assert not again.driver.lost


def test_the_first_kind_of_host_to_return_measures_the_ranking() -> None:
    """The only hosts with a GPU are lost while workers are gathered."""
    gpus = [Machine(kind, kind=kind, device="cuda", dies=0.5, returns=30.0 + at) for at, kind in enumerate("ab")]
    cases = [case(reducer, size, device="cuda") for reducer in ("gap", "fc") for size in (8, 16, 32)]
    sweep = Sweep(cases, [*gpus, *machines(2, joins=1.0)], limits=Limits(start=60, patience=1, late=1)).run()
    assert sweep.whole()
    assert {name for name, _, _ in sweep.engine.visits} == {"a"}


def test_with_single_visits_anchors_measure_only_latency_and_nothing_repeats() -> None:
    sweep = Sweep(suite(), machines(2), protocol=replace(PROTOCOL, visits=1)).run()
    assert max(sweep.made.values()) == 1
    assert {job.metrics for job, _ in sweep.records if job.visit >= FIRST_ROUND} == {("latency",)}
    again = Sweep(suite(), machines(2), protocol=replace(PROTOCOL, visits=1), done=[r for _, r in sweep.records]).run()
    assert again.records == []


def test_a_host_skips_an_anchor_too_large_for_its_memory(large: Case) -> None:
    """The host used to take none of its anchors, no other host could take them, and the run never ended."""
    cases = [*suite(hidden=(64,)), large]
    truth = {planned_case.id: 0.001 * (number + 1) for number, planned_case in enumerate(cases)} | {large.id: 1.0}

    def measured_on(*hosts: Machine, done=()) -> Sweep:
        sweep = Sweep(cases, list(hosts), done=done)
        speeds = {host.name: lambda _: 1.0 for host in hosts}
        sweep.engine.answer = timed(truth, speeds, sweep.engine.clock)
        return sweep.run()

    done = [record for _, record in measured_on(*machines(2)).records]
    again = measured_on(Machine("host-0"), Machine("small", memory=2**31), done=done)
    anchors = [job.case for job, record in again.records if job.host == "small" and job.visit >= FIRST_ROUND]
    assert len(anchors) == 2
    assert large not in anchors
    assert {record.status for _, record in again.records} == {"ok"}


# --- Faults -----------------------------------------------------------------------------------------------------------


def lacking(kind: str, lacks: dict[str, str]):
    """Return a function that makes records, but failed ones of a variant (of any case: "") that a host lacks."""
    errors = {"unavailable": Unavailable("no compiler"), "impossible": Impossible("it has no step")}
    error = errors.get(kind) or CaseFailed("error", "No such file: 'clips'")

    def answer(job: Job, host: Host) -> Record:
        names = [choice.name for choice in job.case.variant] or ["eager"]
        lack = lacks.get(host.name)
        return failed_record(job.case, error) if lack == "" or lack in names else invented(job, host)

    return answer


@pytest.mark.parametrize("kind", ["unavailable", "error"])
def test_a_case_is_measured_by_the_hosts_that_have_what_it_needs(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A host without a compiler, or without a file, used to skip or fail the cases that came to it first."""
    sweep = Sweep(suite(), machines(3), answer=lacking(kind, {"host-0": "channels_last"})).run()
    assert sweep.whole()
    assert {record.status for _, record in sweep.records} == {"ok"}
    assert sum("host-0 cannot measure" in message for message in caplog.messages) == 1
    assert any(name == "host-0" for name, _, _ in sweep.engine.visits)


def test_cases_of_one_model_run_on_different_hosts_if_each_lacks_something() -> None:
    """No host can take such a piece whole, so it would wait forever."""
    sweep = Sweep(suite(), machines(2), answer=lacking("unavailable", {"host-0": "channels_last", "host-1": "eager"}))
    assert sweep.run().whole()
    assert {record.status for _, record in sweep.records} == {"ok"}


@pytest.mark.parametrize(
    ("kind", "status", "attempts"),
    [("unavailable", "skipped", 3), ("impossible", "skipped", 1), ("error", "failed", 2)],
)
def test_a_case_that_no_host_can_measure_has_one_record(kind: str, status: str, attempts: int) -> None:
    """What only the built model shows to be impossible is so on every host: no other host tries it."""
    sweep = Sweep(
        [case("gap"), case("gmp")], machines(3), answer=lacking(kind, dict.fromkeys(("host-0", "host-1", "host-2"), ""))
    )
    assert [record.status for _, record in sweep.run().records] == [status] * 2
    assert Counter(job.case.id for _, job, _ in sweep.engine.visits) == {
        case("gap").id: attempts,
        case("gmp").id: attempts,
    }


def test_other_hosts_do_the_work_of_a_lost_host() -> None:
    sweep = Sweep([*suite(), *trials(4)], [Machine("host-0"), Machine("doomed", dies=7.3), Machine("host-2")]).run()
    assert sweep.whole()


def test_a_silent_host_is_given_up_after_a_while() -> None:
    hosts = [Machine("host-0"), Machine("silent", falls_silent=5.5)]
    sweep = Sweep(suite(), hosts, limits=Limits(silence=20)).run()
    assert sweep.whole()
    assert any(worker.startswith("silent") for worker in sweep.engine.dropped)


def test_nobody_is_given_up_for_what_was_said_while_another_worker_was_ended() -> None:
    """Ending a job, or starting another, takes minutes if Slurm's controller is down: all workers counted as silent."""

    class SlowScheduler(Invented):
        def drop(self, worker: str) -> None:
            self.now += 300
            super().drop(worker)

        def events(self, seconds: float) -> Iterator[Event]:
            yield from super().events(seconds)
            while self._queue and self._queue[0][0] <= self.now:
                yield from super().events(0)

    hosts = [Machine("silent", falls_silent=5.5), *machines(2)]
    sweep = Sweep(suite(), hosts, costs=Costs(lambda _: 9.0), limits=Limits(silence=20))
    sweep.engine.__class__ = SlowScheduler
    assert sweep.run().whole()
    assert [worker.partition("/")[0] for worker in sweep.engine.dropped] == ["silent"]


def test_messages_are_read_after_a_scheduler_that_answers_late(tmp_path: Path) -> None:
    engine = slurm_engine(tmp_path, "worker-0")
    job = engine.submissions["worker-0"].job
    job.watcher.update.side_effect = lambda: mailbox.Mailbox(tmp_path / "mail", "worker-0").say(Beat("worker-0"))
    assert list(engine.events(0)) == [Beat("worker-0")]
    engine.close()


def test_a_scheduler_that_hangs_takes_little_of_the_drivers_time(tmp_path, monkeypatch) -> None:
    """The states were queried every ten seconds, half a minute each time, and workers waited for their next piece."""
    engine, seconds = slurm_engine(tmp_path, "worker-0"), 100.0

    def hang() -> None:
        nonlocal seconds
        seconds += 30

    update = engine.submissions["worker-0"].job.watcher.update
    update.side_effect = hang
    monkeypatch.setattr(slurm, "time", Mock(monotonic=lambda: seconds))
    while seconds < 1000:
        assert list(engine.events(0)) == []
        seconds += 1
    assert update.call_count == 5, "150 of 900 seconds"
    engine.close()


def test_slurms_jobs_are_cancelled_by_one_command_that_may_hang(tmp_path, monkeypatch) -> None:
    """Each job had its own command without a limit: with Slurm's controller down, Ctrl-C took minutes."""
    engine = slurm_engine(tmp_path, "worker-0", "worker-1")
    for number, submission in enumerate(engine.submissions.values()):
        submission.job.job_id = f"7_{number}"
    scancel = Mock(side_effect=subprocess.TimeoutExpired("scancel", 15))
    monkeypatch.setattr(slurm.subprocess, "run", scancel)
    engine.close()
    ((command,), options) = scancel.call_args
    assert command == ["scancel", "7_0", "7_1"]
    assert scancel.call_count == 1
    assert options["timeout"] == slurm.SECONDS_OF_A_QUERY
    assert not tmp_path.exists()


def test_a_case_that_kills_its_hosts_fails_alone() -> None:
    cases = suite()
    poison = cases[5]
    hosts = machines(5, deadly=frozenset({poison.id}), returns=10.0)
    sweep = Sweep(cases, hosts).run()
    failed = [record for _, record in sweep.records if record.status == "failed"]
    assert [record.case for record in failed] == [poison]
    assert "3 workers were lost while they measured it" in failed[0].failure.message
    assert sweep.whole(but=(poison.id,))


def test_another_host_tries_a_case_that_hangs_its_worker() -> None:
    cases = suite()
    hosts = [Machine("bad", stuck=frozenset({cases[3].id})), Machine("good")]
    sweep = Sweep(cases, hosts, protocol=replace(PROTOCOL, timeout=5)).run()
    assert sweep.whole()
    assert sweep.engine.now < 2000


def test_a_slow_hosts_work_is_reissued_and_counts_once() -> None:
    slow = Machine("slow", slowness=lambda now: 40.0 if now > 20 else 1.0)
    sweep = Sweep(suite(), [*machines(3), slow]).run()
    assert sweep.whole()
    alone = Sweep(suite(), machines(3)).run()
    assert sweep.engine.now < 2.5 * alone.engine.now


def test_hosts_that_join_late_take_part() -> None:
    sweep = Sweep(suite(), [Machine("first"), Machine("second", joins=25.0)], limits=Limits(settle=1)).run()
    assert sweep.whole()
    assert {name for name, _, _ in sweep.engine.visits} == {"first", "second"}


def test_a_case_is_not_blamed_for_a_preempted_host() -> None:
    hosts = [Machine("host-0"), Machine("taken", dies=7.3, preempted=True)]
    assert Sweep(suite(), hosts, limits=Limits(deaths=1)).run().whole()


def test_a_case_that_outlives_every_worker_fails() -> None:
    cases = suite()
    hosts = machines(3, deadly=frozenset({cases[5].id}), returns=10.0, preempted=True)
    assert Sweep(cases, hosts).run().whole(but=(cases[5].id,))


def test_a_case_is_not_blamed_for_an_unwritable_piece() -> None:
    sweep = Sweep(suite(), machines(2, preempted=True, returns=5.0), limits=Limits(deaths=1))
    hand, reason = sweep.engine.hand, "its work cannot be written"

    def hand_on_a_full_disk(worker: str, piece: Piece) -> None:
        if sweep.engine.now > 40:
            return hand(worker, piece)
        machine = sweep.engine.alive[worker]
        return sweep.engine._at(sweep.engine.now, worker, lambda: sweep.engine._die(worker, machine, reason))

    sweep.engine.hand = hand_on_a_full_disk
    assert sweep.run().whole()
    assert {record.status for _, record in sweep.records} == {"ok"}


def test_a_host_of_another_version_is_left_out_for_good() -> None:
    sweep = Sweep(suite(), [Machine("host-0"), Machine("old", version="0.0.1")]).run()
    assert sweep.whole()
    assert sweep.engine.dropped == ["old/1"]
    assert {name for name, _, _ in sweep.engine.visits} == {"host-0"}


def test_hosts_with_different_code_of_one_version_share_no_ranking() -> None:
    other_code = f"{package.__version__} (code 01234567)"
    sweep = Sweep(suite(), [Machine("host-0", version=package.build()), Machine("old", version=other_code)]).run()
    assert sweep.whole()
    assert sweep.engine.dropped == ["old/1"]


def test_the_run_ends_at_once_if_all_versions_differ() -> None:
    sweep = Sweep(suite(), machines(2, version="0.0.1"))
    with pytest.raises(ConvbenchError, match=r"within 0 s: it has convbench 0\.0\.1, and this machine has"):
        sweep.run()


def test_a_run_without_any_host_ends_with_one_message() -> None:
    with pytest.raises(ConvbenchError, match="no worker joined within"):
        Sweep(suite(), [Machine("never", joins=math.inf)], limits=Limits(start=30)).run()


def test_a_long_wait_for_the_first_worker_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    Sweep(suite(), [Machine("queued", joins=90.0)], limits=Limits(start=3600)).run()
    assert caplog.text.count("no worker has joined yet: waiting up to 3600 s for the first") == 1


def test_finished_records_survive_the_loss_of_every_host() -> None:
    sweep = Sweep(suite(), machines(2, dies=20.0), limits=Limits(start=60))
    with pytest.raises(ConvbenchError, match=r"every host was lost.*--resume"):
        sweep.run()
    assert sweep.records
    again = Sweep(suite(), machines(2), done=[record for _, record in sweep.records]).run()
    both = sweep.made + again.made
    assert max(both.values()) == 1
    again.records += sweep.records
    assert again.whole()


def test_the_run_ends_at_once_if_no_hosts_are_expected() -> None:
    sweep = Sweep(suite(), machines(2, dies=20.0), limits=Limits(start=3600))
    assert len(sweep.driver.hosts) == 2
    sweep.engine.awaits_workers = False
    with pytest.raises(ConvbenchError, match=r"every host was lost, and no others are expected.*--resume"):
        list(sweep.driver.run(jobs(sweep.schedule, PLAN, (0, 1))))
    assert sweep.engine.now < 30


def test_trainings_run_although_all_hosts_for_timing_were_lost() -> None:
    """The hosts that time the ranking are lost before its second round, which contains no other work."""
    hosts = [Machine("a", dies=5.0), Machine("b", kind="b", joins=4.0)]
    sweep = Sweep([*suite(hidden=(16,)), *trials(4)], hosts, limits=Limits(start=30, settle=1))
    with pytest.raises(ConvbenchError, match=r"could measure 24 of the cases were lost.*--resume"):
        sweep.run()
    assert {job.case for job, _ in sweep.records if job.case.trial} == set(trials(4))


def test_a_resumed_run_measures_the_cases_of_lost_hosts() -> None:
    cases = suite(hidden=(16, 32))
    sweep = Sweep(cases, [Machine("a"), Machine("b", kind="b", dies=10.0)], limits=Limits(start=30))
    with pytest.raises(ConvbenchError, match=r"of the cases were lost.*--resume"):
        sweep.run()
    assert {record.status for _, record in sweep.records} == {"ok"}
    hosts = [Machine("a"), Machine("b", kind="b")]
    again = Sweep(cases, hosts, done=[record for _, record in sweep.records]).run()
    assert max((sweep.made + again.made).values()) == 1
    again.records += sweep.records
    assert again.whole()


def test_a_resumed_run_waits_for_a_late_kind_of_host() -> None:
    cases = suite(hidden=(16, 32))
    first = Sweep(cases, [Machine("a"), Machine("b", kind="b")])
    visits: Iterator = iter(first)
    for _ in range(60):
        next(visits)
    visits.close()
    late = [Machine("b", kind="b"), Machine("a", joins=100.0)]
    again = Sweep(cases, late, done=[record for _, record in first.records], limits=Limits(settle=10)).run()
    assert again.driver.hosts[0].name == "b", "those that are there begin"
    again.records += first.records
    assert again.whole()


def test_the_remaining_visits_of_a_failed_case_block_no_others() -> None:
    cases = [case(hidden=16), case(hidden=32)]
    deadly = Machine("b", kind="b", deadly=frozenset(planned.id for planned in cases))
    sweep = Sweep(cases, [Machine("a"), deadly], limits=Limits(deaths=1)).run()
    (failed,) = [record.case.id for _, record in sweep.records if record.status == "failed"]
    assert sweep.whole(but=(failed,))


def test_resuming_after_the_driver_died_repeats_nothing() -> None:
    first = Sweep([*suite(), *trials(5)], machines(3))
    visits: Iterator = iter(first)
    for _ in range(40):
        next(visits)
    visits.close()
    again = Sweep([*suite(), *trials(5)], machines(3), done=[record for _, record in first.records]).run()
    assert max((first.made + again.made).values()) == 1
    again.records += first.records
    assert again.whole()


@pytest.mark.parametrize("seed", range(12))
def test_any_mixture_of_faults_loses_and_repeats_nothing(seed: int) -> None:
    chance = random.Random(seed)
    cases = [*suite(hidden=(16, 32)), *trials(chance.randrange(8))]
    poison = frozenset({chance.choice(cases).id} if chance.random() < 0.4 else ())
    hosts = [Machine("host-0")]
    for number in range(1, chance.randrange(2, 7)):
        fault = chance.choice(("", "dies", "returns", "silent", "slow", "late", "stuck"))
        hosts.append(Machine(
            f"host-{number}",
            joins=chance.uniform(1, 60) if fault == "late" else 0.0,
            dies=chance.uniform(0, 60) if fault in ("dies", "returns") else math.inf,
            returns=chance.uniform(1, 40) if fault == "returns" else None,
            falls_silent=chance.uniform(0, 60) if fault == "silent" else math.inf,
            slowness=(lambda _: 30.0) if fault == "slow" else (lambda _: 1.0),
            stuck=frozenset({chance.choice(cases).id}) if fault == "stuck" else frozenset(),
        ))  # fmt: skip
    hosts = [replace(host, deadly=poison, returns=5.0 if poison else host.returns) for host in hosts]
    sweep = Sweep(cases, hosts, limits=Limits(silence=15, start=100), protocol=replace(PROTOCOL, timeout=5)).run()
    assert sweep.whole(but=poison)
    assert {record.case.id for _, record in sweep.records if record.status == "failed"} <= poison
    assert sweep.engine.now < 5000


# --- Engines ----------------------------------------------------------------------------------------------------------


def ray_engine(monkeypatch, *, begun: bool, address: str = "", nodes=({"CPU": 2.0},)) -> ray._Engine:
    """Return the engine on a mocked Ray library; ``begun`` is whether the user already has a session."""
    library = MagicMock()
    library.is_initialized.return_value = begun
    library.nodes.return_value = [
        {"NodeID": f"node-{at}", "Alive": True, "Resources": resources} for at, resources in enumerate(nodes)
    ]
    library.wait.return_value = [], []
    library.init.side_effect = lambda **_: library.is_initialized.configure_mock(return_value=True)
    monkeypatch.setattr(ray, "_library", lambda: library)
    return ray._Engine(spec("cpu", (), 0, 1), address, {})


@pytest.mark.parametrize("engine", [ray._Engine(None, "", {}), slurm._Engine(None, None)], ids=["ray", "slurm"])
def test_later_cases_add_their_modules_to_an_engines_spec(engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "spec", earlier := Mock())
    engine.expect(cases := suite())
    earlier.of.assert_called_once_with(cases)
    assert engine.spec is earlier.of.return_value


@pytest.mark.parametrize(("chosen", "sends"), [({}, "0"), ({"RAY_USAGE_STATS_ENABLED": "1"}, "1")])
def test_ray_sends_no_statistics_unless_the_user_wants_it_to(chosen, sends, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ray", "ray.util", "ray.util.scheduling_strategies"):
        monkeypatch.setitem(sys.modules, module, MagicMock())
    environment = dict(chosen)
    monkeypatch.setattr(ray, "os", Mock(environ=environment))
    ray._library()
    assert environment == {"RAY_USAGE_STATS_ENABLED": sends, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@pytest.mark.parametrize(
    ("library", "plugin", "words"),
    [("ray", ray, "needs Ray, here and on every host: pip"), ("submitit", slurm, "needs submitit: pip")],
)
def test_an_executors_missing_library_is_named_with_its_extra(library, plugin, words, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    name = plugin.__name__.rpartition(".")[2]
    with pytest.raises(ConvbenchError, match=rf"^--executor {name} {words} install 'convbench\[{name}\]'"):
        plugin._library()


@pytest.mark.parametrize("options", [{}, {"working_dir": "data"}, {"working_dir": "data", "image": "net"}])
def test_only_given_options_are_part_of_rays_environment(options: dict[str, str]) -> None:
    """Ray would refuse a folder without a name."""
    engine: Any = ray.Ray("cpu", **options).driver.engine
    assert list(engine.environment.values()) == list(options.values())


@pytest.mark.parametrize("begun", [True, False])
def test_the_users_own_ray_session_is_not_shut_down(monkeypatch: pytest.MonkeyPatch, begun: bool) -> None:
    engine = ray_engine(monkeypatch, begun=begun)
    assert engine.start() == 1
    engine.close()
    assert engine.ray.shutdown.called is not begun


def test_rays_message_on_a_lost_worker_stays_off_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray used to print 45 lines to standard output, where ``--json`` prints objects."""
    engine = ray_engine(monkeypatch, begun=False)
    engine.start()
    assert engine.ray._private.worker._worker_logs_enabled is False
    engine.close()
    assert engine.ray._private.worker._worker_logs_enabled is True


def test_an_address_is_refused_beside_an_open_ray_session(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ray_engine(monkeypatch, begun=True, address="auto")
    with pytest.raises(ConvbenchError, match="already has a Ray session"):
        engine.start()
    engine.close()
    assert not engine.ray.shutdown.called


@pytest.mark.parametrize("address", ["", "auto"])
def test_a_ray_address_is_refused_if_its_cluster_is_gone(monkeypatch, address) -> None:
    """Ray used to try for more than two minutes without a message."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    engine = ray_engine(monkeypatch, begun=False, address=address)
    with pytest.raises(ConvbenchError, match=r"no Ray cluster at 127\.0\.0\.1:1: .* unset RAY_ADDRESS"):
        engine.start()
    assert not engine.ray.init.called


def test_a_ray_cluster_of_another_python_is_refused_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message ended before the versions, said that there is no cluster, and advised to start one."""
    engine = ray_engine(monkeypatch, begun=False, address="127.0.0.1:6379")
    monkeypatch.setattr(ray, "_refuse_unreachable", lambda *_: None)
    versions = "The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\nThis process: 3.11.2\n"
    monkeypatch.setattr(ray._library(), "init", Mock(side_effect=RuntimeError(f"Version mismatch: {versions}")))
    with pytest.raises(ConvbenchError, match=r"^the Ray cluster cannot be joined: .*3\.11\.7 .*3\.11\.2; install"):
        engine.start()


def test_a_working_dir_that_ray_refuses_is_not_called_a_missing_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ray_engine(monkeypatch, begun=False)
    engine.environment = {"working_dir": "data"}
    error = RuntimeError("Failed to set up runtime environment.\nPackage size exceeds 512MiB.")
    monkeypatch.setattr(ray._library(), "init", Mock(side_effect=error))
    with pytest.raises(ConvbenchError, match=r"^the Ray cluster cannot use data: .* Package size exceeds 512MiB\.$"):
        engine.start()


@pytest.mark.parametrize("mode", ["", "token"])
def test_a_ray_cluster_that_may_ask_for_a_token_is_refused_with_the_variable(monkeypatch, mode) -> None:
    """After any local session of Ray, ``ray start`` asks for that session's token, and a named address gets none."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    engine = ray_engine(monkeypatch, begun=False, address="127.0.0.1:6379")
    monkeypatch.setattr(ray, "_refuse_unreachable", lambda *_: None)
    monkeypatch.setattr(ray._library(), "init", Mock(side_effect=ConnectionError("Failed to connect to Ray cluster")))
    with pytest.raises(ConvbenchError, match=r"Failed to connect.* address=HOST:6379") as refusal:
        engine.start()
    assert str(refusal.value).endswith("it may ask for a token: set RAY_AUTH_MODE=token") is not bool(mode)


def test_a_run_ends_with_a_message_once_the_head_of_its_ray_cluster_is_gone(monkeypatch) -> None:
    """Ray used to end the command with exit code 1, which means a regression, and without a word on how to go on."""
    engine = ray_engine(monkeypatch, begun=False)
    engine.start()
    monkeypatch.setattr(ray, "SECONDS_BETWEEN_LOOKS", 0.0)
    engine.ray.get_runtime_context().gcs_address = "127.0.0.1:1"
    engine.ray.nodes.reset_mock()
    engine.events(0)
    assert not engine.ray.nodes.called, "a question to a head that is away for a moment would block"
    monkeypatch.setattr(ray, "PATIENCE", 0.0)
    with pytest.raises(ConvbenchError, match=r"the head of the Ray cluster is gone \(.*--resume to go on"):
        engine.events(0)


def test_a_ray_node_without_a_core_does_not_end_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ray_engine(monkeypatch, begun=False, nodes=({"CPU": 2.0}, {"CPU": 0.5}))
    assert engine.start() == 2, "the one that is absent is counted, as it is said to be missing afterwards"
    assert [type(event) for event in engine.events(0)] == [Absent]
    assert ray_engine(monkeypatch, begun=False, nodes=({"GPU": 1.0},)).start() == 0, (
        "a head without CPUs may come first"
    )


@pytest.mark.parametrize(
    ("device", "cores", "slots", "resources", "expected"),
    [
        ("cpu", 0, 1, {"CPU": 3.0, "GPU": 1.0}, ({"num_cpus": 3}, "")),
        ("cpu", 0, 2, {"CPU": 3.0}, ({"num_cpus": 1}, "")),
        ("cpu", 0, 4, {"CPU": 3.0}, ({"num_cpus": 0.75}, "")),
        ("cpu", 2, 2, {"CPU": 4.0}, ({"num_cpus": 2}, "")),
        ("cpu", 2, 2, {"CPU": 3.0}, ({}, "it has 3 CPUs for Ray and needs 4")),
        ("auto", 0, 1, {"CPU": 3.0, "GPU": 1.0}, ({"num_cpus": 3, "num_gpus": 1}, "")),
        ("auto", 0, 2, {"CPU": 4.0, "GPU": 1.0}, ({"num_cpus": 2}, "")),
        ("cuda", 0, 2, {"CPU": 4.0, "GPU": 2.0}, ({"num_cpus": 2, "num_gpus": 1}, "")),
        ("cuda", 0, 2, {"CPU": 4.0, "GPU": 1.0}, ({}, "it has 1 GPUs and needs 2")),
    ],
)
def test_a_ray_worker_reserves_its_share_of_a_host(device, cores, slots, resources, expected) -> None:
    assert ray._Engine(spec(device, (), cores, slots), "", {})._share(resources) == expected


def test_a_ray_cluster_may_lose_its_head_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the seconds since its last answer count."""
    engine, clock = ray_engine(monkeypatch, begun=False), Mock(return_value=0.0)
    monkeypatch.setattr(ray, "time", Mock(monotonic=clock))
    engine.start()
    for seconds, error in ((25.0, OSError("gone")), (50.0, None), (75.0, OSError("gone"))):
        clock.return_value = seconds
        monkeypatch.setattr(ray, "_connection_error", lambda _, error=error: error)
        assert engine._has_head() is (error is None)
    clock.return_value = 81.0
    with pytest.raises(ConvbenchError, match=r"the head of the Ray cluster is gone \(gone\)"):
        engine._has_head()


def test_a_late_ray_worker_is_reported_once_until_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, clock = ray_engine(monkeypatch, begun=False, nodes=({"CPU": 2.0}, {"CPU": 2.0}, {"GPU": 1.0})), Mock()
    monkeypatch.setattr(ray, "time", Mock(monotonic=clock))
    clock.return_value = 0.0
    assert engine.start() == 2, "a head without CPUs does no work, and is not missing"
    assert engine.awaits_workers
    _, started = engine.remotes.values()
    started.piece = 0
    clock.return_value = ray.SECONDS_TO_START
    assert list(engine._late_workers()) == []
    clock.return_value += 1
    (event,) = engine._late_workers()
    assert (event.worker, event.reason[:18]) == ("node-0/0/1", "it has not started")
    assert list(engine._late_workers()) == []


@pytest.mark.parametrize("address", ["", "auto", "ray://", "head", "head:port", "ray://head:port"])
def test_an_address_without_a_port_is_left_to_ray(address: str) -> None:
    assert ray._connection_error(address) is None


def test_a_ray_worker_that_cannot_start_is_not_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ray_engine(monkeypatch, begun=False)
    engine.start()
    (remote,) = engine.remotes.values()
    engine.ray.exceptions.RayTaskError = ValueError
    died = RuntimeError("the actor died because of\nModuleNotFoundError: no module named 'x'")
    died.actor_init_failed = True
    engine.ray.get.side_effect = died
    engine.ray.wait.return_value = [remote.reference], []
    (event,) = engine.events(0)
    assert isinstance(event, Absent)
    assert event.reason == "ModuleNotFoundError: no module named 'x'"
    engine._look()
    assert engine.remotes == {}


def test_a_ray_node_is_left_out_after_repeated_false_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ray_engine(monkeypatch, begun=False)
    engine.start()
    engine.ray.exceptions.RayTaskError = ValueError
    engine.ray.get.side_effect = RuntimeError("the image cannot be had")
    events = []
    for _ in range(ray.FALSE_STARTS + 2):
        engine.ray.wait.return_value = [remote.reference for remote in engine.remotes.values()], []
        events += engine.events(0)
        engine._look()
    assert [type(event) for event in events] == [Lost] * (ray.FALSE_STARTS - 1) + [Absent]
    assert events[-1].reason == "the image cannot be had"
    assert engine.remotes == {}


def test_only_false_starts_in_a_row_exclude_a_ray_node(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ray_engine(monkeypatch, begun=False)
    engine.start()
    engine.ray.exceptions.RayTaskError = ValueError
    killed, events = RuntimeError("it was killed while it started"), []
    for described in (killed, killed, Beat("it has come"), killed, killed):
        engine.ray.get.side_effect = [described]
        engine.ray.wait.return_value = [remote.reference for remote in engine.remotes.values()], []
        events += engine.events(0)
        for worker in list(engine.remotes):
            engine.drop(worker)
        engine._look()
    assert [type(event) for event in events] == [Lost, Lost, Beat, Lost, Lost]
    assert engine.remotes


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        (
            "It is dead. Worker exit detail: Task was killed due to low memory.\nMemory was 15/16GB",
            "Task was killed due to low memory.",
        ),
        ("The actor died because its node has died. Id: 7\n\tthe", "The actor died because its node has died. Id: 7"),
        ("", "The actor died unexpectedly before finishing this task."),
    ],
)
def test_rays_own_reason_for_a_lost_worker_is_reported(monkeypatch: pytest.MonkeyPatch, told: str, cause: str) -> None:
    """The message used to be Ray's first line, which is the same whatever happened."""
    engine = ray_engine(monkeypatch, begun=False)
    engine.start()
    (remote,) = engine.remotes.values()
    engine.ray.exceptions.RayTaskError = ValueError
    words = f"The actor died unexpectedly before finishing this task.\n\tclass_name: Worker\n\tpid: 7\n{told}"
    engine.ray.get.side_effect = RuntimeError(words)
    engine.ray.wait.return_value = [remote.reference], []
    assert list(engine.events(0)) == [Lost(remote.name, cause)]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_signal_while_ray_connects_ends_the_command_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's handler exits. The command used to end with a traceback that blamed convbench or the user's code."""
    engine = ray_engine(monkeypatch, begun=False)

    def init(**_: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ray._library(), "init", init)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray may have left a handler in this process
    try:
        assert code_of(engine.start) == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def test_slurm_in_the_drivers_process_allows_only_one_worker() -> None:
    """Two workers used to fork one server each in this process and to end each other's cases."""
    with slurm.Slurm("cpu", cluster="debug") as jobs:
        assert jobs.driver.engine.options.workers == 1
    with pytest.raises(ConvbenchError, match=r"cluster=debug .* there cannot be 3 workers: give workers=1"):
        slurm.Slurm("cpu", cluster="debug", workers=3)


def test_options_that_only_slurm_understands_are_reported_as_unused(caplog: pytest.LogCaptureFixture) -> None:
    with slurm.Slurm("cpu", cluster="local", setup="module load cuda", memory="16GB"):
        assert caplog.messages == ["convbench: not used with cluster=local: memory, setup"]


def slurm_engine(folder: Path, *workers: str) -> slurm._Engine:
    """Return the engine with workers that no scheduler knows and that are not replaced if they are lost."""
    options = slurm._JobOptions("slurm", 0, 0, 0, 60, str(folder), {}, exclusive=True)
    engine = slurm._Engine(options, spec("cpu", (), 0, 1))
    engine.run_folder, engine.mailboxes = folder, mailbox.Mailboxes(folder / "mail", engine.spec)
    for worker in workers:
        engine.mailboxes.open(worker)
        engine.submissions[worker] = slurm._Submission(MagicMock(state="RUNNING"))
    return engine


def test_a_folder_on_nfs_is_opened_before_its_files_are_missed(tmp_path, monkeypatch) -> None:
    """NFS remembers for up to a minute that a file is missing, until somebody opens the folder."""
    engine, worker = slurm_engine(tmp_path, "first"), mailbox.Mailbox(tmp_path / "mail", "first")
    remembered: set[Path] = set()
    scandir, read, stat = os.scandir, Path.read_bytes, Path.stat
    sleeps = iter([lambda: engine.hand("first", Piece(7, ())), lambda: None])

    def look(folder: Path) -> Iterator[os.DirEntry[str]]:
        remembered.difference_update({path for path in remembered if path.parent == folder})
        return scandir(folder)

    def remembering(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(path: Path, *arguments: Any, **options: Any) -> Any:
            if path in remembered or not os.path.lexists(path):
                remembered.add(path)
                raise FileNotFoundError(path)
            return call(path, *arguments, **options)

        return wrapped

    monkeypatch.setattr(mailbox.os, "scandir", look)
    monkeypatch.setattr(Path, "read_bytes", remembering(read))
    monkeypatch.setattr(Path, "stat", remembering(stat))
    monkeypatch.setattr(mailbox.time, "sleep", lambda _: next(sleeps)())
    assert engine.mailboxes.collect() == []
    assert next(worker.pieces()) == Piece(7, ())
    worker.say(Beat("first"))
    assert engine.mailboxes.collect() == [Beat("first")]
    assert not worker.has_ended
    engine.mailboxes.stop("first")
    assert worker.has_ended
    monkeypatch.undo()
    engine.close()


def test_a_message_that_cannot_be_read_now_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("the folder is away for a moment")

    engine, take = slurm_engine(tmp_path, "first", "second"), mailbox._take
    for worker in ("first", "second"):
        mailbox.Mailbox(tmp_path / "mail", worker).say(Beat(worker))
    with monkeypatch.context() as patch:
        patch.setattr(mailbox, "_take", lambda path: take(path) if "second" in str(path) else refuse())
        assert list(engine.events(0)) == [Beat("second")]
    assert list(engine.events(0)) == [Beat("first")]
    assert list(engine.events(0)) == []
    engine.close()


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95"])
def test_a_message_cut_by_a_crashing_host_is_ignored(tmp_path: Path, content: bytes) -> None:
    engine = slurm_engine(tmp_path, "down", "there")
    (tmp_path / "mail" / "down" / "out-0").write_bytes(content)
    mailbox.Mailbox(tmp_path / "mail", "there").say(Beat("there"))
    assert list(engine.events(0)) == [Beat("there")]
    engine.close()


def test_a_briefly_unreadable_folder_does_not_end_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker").mkdir()
    box = mailbox.Mailbox(tmp_path, "worker")
    assert not box.has_ended
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", Mock(side_effect=OSError(116, "Stale file handle")))
        assert not box.has_ended
    (tmp_path / "worker" / mailbox.STOP).touch()
    assert box.has_ended


def test_a_worker_starts_once_the_folder_is_writable_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = slurm_engine(tmp_path, "worker-0")
    (tmp_path / "mail" / "worker-0" / mailbox.STOP).touch()
    made = MagicMock()
    made.return_value.describe.return_value = Beat("worker-0")
    touch, slept = Path.touch, []

    def touch_at_the_third_try(path: Path, **options: bool) -> None:
        if len(slept) < 2:
            raise OSError(116, "Stale file handle")
        touch(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(mailbox, "Worker", made)
        patch.setattr(mailbox.time, "sleep", slept.append)
        patch.setattr(Path, "touch", touch_at_the_third_try)
        mailbox.serve(str(tmp_path / "mail"), "worker-0", "")
    assert made.call_count == 1
    engine.close()


@pytest.mark.parametrize("joined", [True, False])
def test_a_worker_says_that_its_job_is_near_its_time_limit(tmp_path, monkeypatch, joined: bool) -> None:
    """Slurm calls such a job failed: with minutes=3, it was blamed on the case. Before it joins, it is a fault."""
    engine = slurm_engine(tmp_path, "worker-0")
    made, limit = MagicMock(), TimeoutError("Job not requeued because: timed-out and not checkpointable")
    made.return_value.describe.return_value = Beat("worker-0")
    made.return_value.messages.side_effect = limit
    made.return_value.describe.side_effect = None if joined else limit
    engine.hand("worker-0", Piece(0, ()))
    monkeypatch.setattr(mailbox, "Worker", made)
    with contextlib.nullcontext() if joined else pytest.raises(TimeoutError):
        mailbox.serve(str(tmp_path / "mail"), "worker-0", "", limits=(TimeoutError,))
    assert made.return_value.close.called
    engine.submissions["worker-0"].job.state = "FAILED"
    *_, loss = engine._losses()
    assert (loss.reason.startswith(mailbox.AT_LIMIT), loss.fault) == (joined, not joined)
    assert (engine._faultless_count, engine._owed_count, list(engine._losses())) == (joined, joined, [])
    engine.close()


def test_only_the_worker_with_an_unwritable_mailbox_is_lost(tmp_path: Path) -> None:
    engine = slurm_engine(tmp_path, "gone", "there")
    (tmp_path / "mail" / "gone").rmdir()
    for worker in ("gone", "there"):
        engine.hand(worker, Piece(0, ()))
    (event,) = engine.events(0)
    assert isinstance(event, Lost)
    assert event.worker == "gone"
    assert not event.fault, "no case had begun"
    assert set(engine.submissions) == {"there"}
    engine.close()


def test_no_worker_is_replaced_while_the_shared_folder_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = slurm_engine(tmp_path / "away", "worker-0")
    (tmp_path / "away").rename(tmp_path / "elsewhere")
    engine._owed_count = 1
    engine._replace()
    (said,) = caplog.messages
    assert said.endswith(
        f"a lost worker is not replaced yet: {tmp_path / 'away'} cannot be written (No such file or directory)"
    )
    engine.close()


@pytest.mark.parametrize(
    ("state", "hours", "fault"),
    [
        ("FAILED", 0.1, True),
        ("NODE_FAIL", 0.1, True),
        ("REVOKED", 0.1, True),
        ("FAILED", 0.98, False),
        ("TIMEOUT", 0.1, False),
        ("CANCELLED by 0", 0.1, False),
        ("PREEMPTED", 0.1, False),
        ("PENDING", 0.1, False),
        ("TIMEOUT", -math.inf, True),
    ],
)
def test_only_unexpected_ends_of_a_job_count_as_faults(tmp_path, state, hours, fault) -> None:
    engine = slurm_engine(tmp_path, "worker-0")
    sent = engine.submissions["worker-0"]
    assert list(engine._losses()) == [], "it runs"
    sent.join_time = time.monotonic() - 3600 * hours
    sent.job.state = state
    (event,) = engine._losses()
    assert event == Lost("worker-0", event.reason, fault)
    assert engine._faultless_count == (not fault)
    assert engine._owed_count == (not fault and not state.startswith("CANCELLED")), "scancel used to start another job"
    assert sent.job.watcher.update.call_count == 2
    engine.close()


def test_the_wait_ends_once_no_pending_worker_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = slurm_engine(tmp_path, "worker-0")
    job = engine.submissions["worker-0"].job
    job.configure_mock(state="FAILED", **{"stderr.return_value": "ModuleNotFoundError: no module named 'convbench'"})
    monkeypatch.setattr(engine, "start", lambda: 1)
    monkeypatch.setattr(slurm, "wait_for_word", lambda *_: [])
    with pytest.raises(ConvbenchError, match=r"within \d s: its job ended \(failed\): ModuleNotFoundError"):
        Roll(engine, Limits(start=60), count().__next__).hosts  # noqa: B018 (waits for them)
    assert "worker-0 is missing: its job ended (failed): ModuleNotFoundError" in caplog.text
    engine.close()


def test_only_its_own_word_tells_that_a_slurm_worker_has_joined(tmp_path: Path) -> None:
    engine = slurm_engine(tmp_path, "worker-0")
    assert list(engine._note([Done("worker-0", 3)])) == [Done("worker-0", 3)]
    assert math.isinf(engine.submissions["worker-0"].join_time)
    assert slurm._state(object()) == "UNKNOWN", "the accounting may be broken"
    engine.close()


@pytest.mark.parametrize(("cluster", "place"), [("slurm", ""), ("local", "worker-5")])
def test_slurm_workers_of_one_machine_have_places_of_their_own(tmp_path: Path, cluster: str, place: str) -> None:
    engine = slurm_engine(tmp_path)
    engine.options, engine.spec = replace(engine.options, cluster=cluster), spec("cpu", (), 1, 3)
    assert engine._arguments("worker-5") == (str(tmp_path / "mail"), "worker-5", place, 2)
    engine.close()


def test_slurm_awaits_workers_that_are_pending_or_owed(tmp_path: Path) -> None:
    engine = slurm_engine(tmp_path, "worker-0")
    assert engine.awaits_workers
    engine.submissions["worker-0"].join_time = time.monotonic()
    assert not engine.awaits_workers
    engine._owed_count, engine._refusal_time = 1, time.monotonic()
    assert engine.awaits_workers, "one in place of another, which Slurm does not want to start yet"
    engine.close()


def test_a_cluster_without_accounting_is_not_polled_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where Slurm is installed, its queue would not know the job
    engine = slurm_engine(tmp_path, "worker-0")
    job = engine.submissions["worker-0"].job
    job.state = "UNKNOWN"
    assert list(engine._losses()) == []
    assert not job.watcher.update.called
    engine.close()


@pytest.mark.parametrize("state", ["UNKNOWN", "RUNNING"])
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo welcome; echo 1_0 RUNNING; echo 1_1 PENDING", ""),
        ("echo 1_1 RUNNING", r"its job ended \(no longer in the queue\): oom-kill"),
        ("echo 1_0 PENDING", r"its job was requeued \(pending\): oom-kill"),
        ("echo 1_0 REQUEUE_HOLD", r"its job was requeued \(requeue_hold\): oom-kill"),
        ('case "$*" in *--states=all*) echo 1_0 CANCELLED;; esac', r"its job ended \(cancelled\): oom-kill"),
        ('case "$*" in *--states=all*) echo 1_0 FAILED;; esac', r"its job ended \(failed\): oom-kill"),
        ("exit 1", ""),
    ],
    ids=["running", "gone", "requeued", "held", "cancelled", "failed", "no answer"],
)
def test_without_accounting_the_queue_tells_which_jobs_have_ended(tmp_path, monkeypatch, script, reason, state) -> None:
    """Without sacct, a worker whose setup failed used to be waited for, for an hour and without a word.

    If the accounting goes down during a run, submitit keeps the last state that it was given.
    """
    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    engine = slurm_engine(tmp_path / "run", "worker-0")
    sent = engine.submissions["worker-0"]
    output = "oom-kill\nsubmitit WARNING (2026-11-30 07:26:02,380) - Bypassing signal SIGTERM\n"
    sent.job.configure_mock(state=state, job_id="1_0", **{"stderr.return_value": output})
    submitit_log = logging.getLogger("submitit")
    submitit_log.addFilter(engine._is_news)
    sent.job.watcher.update.side_effect = lambda: submitit_log.warning("Call #7 - Bypassing sacct error: down")
    sent.has_run = True
    reasons = [event.reason for event in engine._losses()]
    assert len(reasons) == bool(reason)
    assert all(re.fullmatch(reason, text) for text in reasons)
    engine.close()


def test_the_queues_reason_tells_what_a_run_without_workers_waits_for(tmp_path, monkeypatch, caplog) -> None:
    """A job that is held never starts, and one too long for its partition: the run only asked if the queue was long."""
    lines = ("welcome", "1_0 PENDING Priority", "1_1 PENDING launch failed requeued held", "1_2 RUNNING None")
    (tmp_path / "squeue").write_text("#!/bin/sh\n" + "".join(f"echo {line}\n" for line in lines))
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    engine = slurm_engine(tmp_path / "run", *(f"worker-{number}" for number in range(3)))
    for number, submission in enumerate(engine.submissions.values()):
        submission.job.configure_mock(state="PENDING", job_id=f"1_{number}")
    monkeypatch.setattr(engine, "start", lambda: 3)
    monkeypatch.setattr(slurm, "wait_for_word", lambda *_: [])
    reason = "Slurm's queue gives the reason Priority and launch failed requeued held."
    with pytest.raises(ConvbenchError, match=f"no worker joined within .* s: {reason} The option start sets how long"):
        Roll(engine, Limits(start=60), count().__next__).hosts  # noqa: B018 (waits for them)
    assert f"waiting up to 60 s for the first (option start); {reason}" in caplog.text
    engine.close()


@pytest.mark.parametrize(
    ("script", "words"), [("exec sleep 600", "no answer after 0.05 s"), ("echo down >&2; exit 1", "exit code 1")]
)
def test_a_query_of_slurm_that_hangs_is_ended(tmp_path, monkeypatch, capfd, caplog, script, words) -> None:
    """It stopped the driver, which handed out no work, for as long as Slurm's database was down.

    One that failed wrote its error on the terminal, every ten seconds.
    """
    watcher = pytest.importorskip("submitit").slurm.slurm.SlurmInfoWatcher()
    (tmp_path / "sacct").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(slurm, "SECONDS_OF_A_QUERY", 0.05 if "sleep" in script else 60)
    slurm._limit_queries(watcher)
    watcher.register_job("1")
    engine = slurm_engine(tmp_path / "run")
    logging.getLogger("submitit").addFilter(engine._is_news)
    assert (watcher.get_state("1", mode="force"), watcher.num_calls) == ("UNKNOWN", 1)
    engine.close()
    assert capfd.readouterr().err == ""
    assert f"accounting does not answer (sacct: {words})" in caplog.text


def test_a_cluster_refuses_cases_that_its_hosts_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)  # a script, unlike xdist
    cluster = Cluster(Invented(machines(1)), (), Limits())
    with pytest.raises(ConvbenchError, match="which other hosts do not have"):
        cluster.expect([Case(Whole(Choice("__main__:Net")), Clip(1, 2, 3, 8, 8))])
    cluster.expect([case(variant="int8")])
    assert cluster.hosts
    cluster.expect([case(variant="int8"), *suite()])
    with pytest.raises(ConvbenchError, match="began without onnx, onnxruntime and onnxscript, which these cases need"):
        cluster.expect([case(variant="onnxruntime")])


def test_the_driver_does_not_import_the_users_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output used to precede the command's JSON, and whatever it started kept the command from ending."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_variant.py").write_text(
        "from convbench.core.registry import declares\nfrom convbench.core.traits import VariantTraits\n"
        "@declares(VariantTraits(packages=('numpy',)))\ndef twice(subject): return subject\n"
    )
    own = case(variant="own_variant:twice")
    cluster = Cluster(Invented(machines(1)), [own], Limits())
    assert [record.status for _, record in cluster.run([Job(own, PROTOCOL)])] == ["ok"]
    assert cluster.needs.of(own).packages == ("numpy",)
    assert "own_variant" not in sys.modules


def test_the_driver_does_not_import_the_users_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was imported by the command itself unless a case named the user's code, too."""
    monkeypatch.setattr(user_code, "Processes", processes := MagicMock())
    data = {"matrix": {"reducer": "gap", "clip": "1x2x3x8x8"}}
    own, plain = suites.from_data(data), suites.from_data(data | {"metrics": "params"})
    cluster = Cluster(Invented(machines(1)), own.cases, Limits())
    assert cluster.call(len, plain.metrics) == 1
    cluster.call(id, replace(own, metrics=("own_probe:weigh",)))
    assert processes.return_value.run.called


def test_the_gpus_number_is_no_import_path() -> None:
    """The memory that a trial needs was not compared with a host's on cuda:1."""
    trial = replace(case(device="cuda:1"), trial=Trial(Choice("placed-digit")))
    assert not user_code.names_own_code([trial])
    assert user_code.names_own_code([replace(trial, variant=(Choice("own_variant:twice"),))])


def test_a_host_with_another_version_of_user_code_is_reported(tmp_path: Path, monkeypatch, caplog) -> None:
    """The user used to learn of it only when --resume refused the run."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_net.py").write_text("new = True\n")

    def answer(job: Job, host: Host) -> Record:
        return replace(invented(job, host), code={"own_net": "0" * 12, "found_there_only": "0" * 12})

    cases = suite(reducers=("gap",), sizes=(8, 16), hidden=(16,))
    cluster = Cluster(Invented(machines(1), answer=answer), cases, Limits())
    assert len(list(cluster.run(Job(planned_case, PROTOCOL) for planned_case in cases))) > 1
    (said,) = (message for message in caplog.messages if "own_net.py" in message)
    assert said.startswith("convbench: own_net.py differs between this machine and a host that measured ")
    assert said.endswith(": bring the copies up to date")


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_a_plan_is_shown_without_starting_a_host(name, in_process, tmp_path, monkeypatch) -> None:
    """A dry run used to submit a job array and to wait for it, up to an hour."""
    monkeypatch.setattr({"ray": ray, "slurm": slurm}[name]._Engine, "start", Mock(side_effect=AssertionError))
    words = ("run", "smoke", "--only", "gap", "--dry-run", "--executor", name)
    done = in_process(*words, "--device", "cuda", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(line.endswith("/cuda") for line in done.stdout.splitlines())
    assert f"{name} was not asked for hosts: they are assumed to be cuda" in done.stderr
    assert "unknown device 'gpu'" in in_process(*words, "--device", "gpu", cwd=tmp_path).stderr


def test_a_trace_that_stays_on_its_host_is_reported(tmp_path: Path) -> None:
    """Time used to be spent on profiles that nobody could open, without a message."""

    def answer(job: Job, host: Host) -> Record:
        return replace(invented(job, host), readings=(Reading(metrics.TRACE_BYTES, (1e6,)),))

    shared, lost = suite(reducers=("gap",), sizes=(8, 16), hidden=(16,))[::2]
    folder = profiles.directory_of(tmp_path, shared.id)
    folder.mkdir()
    (folder / profiles.SUMMARY).touch()
    cluster = Cluster(Invented(machines(1), answer=answer), (), Limits())
    visits = cluster.run(Job(planned_case, PROTOCOL, probes=(Capture(tmp_path),)) for planned_case in (shared, lost))
    codes = {job.case: [finding.code for finding in record.findings] for job, record in visits}
    assert codes == {shared: [], lost: ["not_profiled"]}


def test_a_host_without_a_plugin_module_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases with such a plug-in used to fail with an unknown reducer, whichever host measured them."""
    monkeypatch.setattr(reducers, "_plugins", dict(reducers._plugins))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "brought_here.py").write_text(
        "import convbench\n@convbench.register('reducer', 'brought')\ndef brought(features, lstm_input): ..."
    )
    importlib.import_module("brought_here")
    known = spec("cpu", (), 0, 1)
    assert "brought_here" in known.modules
    del sys.modules["brought_here"], reducers._plugins["brought"]
    _become(replace(known, modules=("brought_here",)))
    assert "brought" in reducers._plugins
    del sys.modules["brought_here"]
    (tmp_path / "brought_here.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError, match="brought_here"):
        _become(replace(known, modules=("brought_here",)))


def test_workers_on_one_machine_count_as_separate_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs of a node used to share a name: they had one host effect, and only the first to join had anchors."""
    one, machine = spec("cpu", (), 0, 1), set(range(os.cpu_count() or 1))
    names = {}
    for affinity in (machine, {4096}, {4097, 4098, 4099}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=affinity: cores)
        names[str(affinity)] = _host_name(one, "", "")
    assert len(set(names.values())) == 3
    assert len({_host_name(one, "", gpu) for gpu in ("", "GPU-1", "GPU-2")}) == 3
    numbered = [_host_name(replace(one, slots=2, slot=slot), "node", f"GPU-{slot}") for slot in range(2)]
    assert [name.rpartition("-")[2] for name in numbered] == ["1", "2"]
    assert len({name.rpartition("-")[0] for name in numbered}) == 1


def test_a_host_with_a_gpu_or_of_the_commonest_kind_stands_for_the_run() -> None:
    groups = Groups()
    machines = [Machine("d", kind="rare"), Machine("c"), Machine("b"), Machine("e", kind="rarer", device="cuda")]
    hosts = [machine.host for machine in machines]
    for host in hosts:
        groups.join(host)
    groups.settle(hosts)
    assert [host.name for host in groups.hosts] == ["e", "b", "c", "d"]


def test_the_longest_ranking_is_placed_first() -> None:
    """In the given order, one kind of host would have three of the four seconds."""
    groups, hosts = Groups(), [Machine(kind, kind=kind).host for kind in "ab"]
    for host in hosts:
        groups.join(host)
    seconds_by_job = {Job(case(hidden=width), PROTOCOL): seconds for width, seconds in ((8, 1), (16, 1), (32, 2))}
    groups.place(list(seconds_by_job), seconds_by_job.__getitem__)
    homes = [[host.name for host in hosts if groups.may(job, host)] for job in seconds_by_job]
    assert sorted([*homes[1], *homes[2]]) == ["a", "b"]
    assert homes[0] == homes[1]


@pytest.mark.parametrize(
    ("started", "skew", "expected"),
    [
        ("2026-11-30T10:00:00.500", 3600.0, "2026-11-30T09:00:00.500"),
        ("2026-11-30T10:00:00.500", -60.0, "2026-11-30T10:01:00.500"),
        ("2026-11-30T10:00:00.500", 2.0, "2026-11-30T10:00:00.500"),
        ("2026-11-30T10:00:00.500", -2.0, "2026-11-30T10:00:00.500"),
        ("", 3600.0, ""),
        ("no date", 3600.0, "no date"),
    ],
)
def test_a_record_is_dated_by_the_drivers_clock(started: str, skew: float, expected: str) -> None:
    timed_case, trial = case(), trials(1)[0]
    for of, conditions in ((timed_case, {"load": 0.5}), (trial, {"load": 0.5, "host": "far"})):
        record = Record(of, "ok", started=started, conditions={"load": 0.5})
        corrected = correct_record(record, Job(of, PROTOCOL), "far", skew)
        assert (corrected.started, corrected.conditions) == (expected, conditions)
        assert correct_record(record, Job(of, PROTOCOL), "", skew).conditions == {"load": 0.5}


def test_a_job_should_take_as_long_as_the_last_such_visit_or_the_mean_of_its_kind() -> None:
    ledger, (first, other) = OpenJobs(), [Job(case(size=size), PROTOCOL) for size in (8, 16)]
    facts, trial = replace(first, visit=FACTS), Job(trials(1)[0], PROTOCOL)
    assert [ledger.expected_seconds(job) for job in (first, facts, trial)] == [1.0, 1.0, 30.0]
    for job, status, seconds in ((first, "ok", 2.0), (first, "ok", 4.0), (first, "failed", 99.0), (facts, "ok", 7.0)):
        ledger.learn(job, Record(job.case, status, seconds=seconds))
    assert [ledger.expected_seconds(job) for job in (first, other, replace(other, visit=FACTS), trial)] == [4, 3, 7, 30]


def test_a_barrier_waits_for_trainings_only_if_it_waits_for_all() -> None:
    ledger = OpenJobs()
    ticket = ledger.enter(Job(trials(1)[0], PROTOCOL))
    assert (ledger.ends("timed"), ledger.ends("all")) == (True, False)
    ledger.enter(Job(case(), PROTOCOL))
    ledger.settle(ticket)
    assert (ledger.ends("timed"), ledger.ends("all")) == (False, False)


def test_a_host_of_two_workers_stays_when_one_is_lost() -> None:
    groups, first, twice = Groups(), Machine("first").host, Machine("twice").host
    for host in (first, twice, twice):
        groups.join(host)
    groups.leave(twice)
    assert groups.hosts == [first, twice]
    groups.leave(twice)
    assert groups.hosts == [first]


def test_a_job_that_runs_a_second_time_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = slurm_engine(tmp_path, "worker-0")
    made = MagicMock()
    made.return_value.describe.return_value = Beat("worker-0")
    monkeypatch.setattr(mailbox, "Worker", made)
    (tmp_path / "mail" / "worker-0" / mailbox.STOP).touch()
    for _ in range(2):
        mailbox.serve(str(tmp_path / "mail"), "worker-0", "")
    assert made.call_count == 1
    engine.close()


def test_the_shared_slurm_folder_does_not_make_the_repository_dirty(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    place = slurm._run_folder(tmp_path / ".convbench-slurm")
    (place / "mail").mkdir()
    (place / "mail" / "spec.pickle").touch()
    assert not git.uncommitted(tmp_path)


def test_a_permanently_lost_shared_folder_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = slurm_engine(tmp_path, "worker-0")
    engine.run_folder = tmp_path
    monkeypatch.setattr(slurm, "wait_for_word", lambda *_: [])
    monkeypatch.setattr(mailbox, "ORPHANED", -1.0)
    shutil.rmtree(tmp_path / "mail")
    with pytest.raises(ConvbenchError, match=r"is gone.*--resume"):
        list(engine.events(0))
    engine.close()


def test_the_run_goes_on_if_the_shared_folder_returns(tmp_path: Path) -> None:
    engine = slurm_engine(tmp_path)
    shutil.rmtree(tmp_path / "mail")
    assert not engine.mailboxes.is_gone
    engine.mailboxes._presence_time -= 2 * mailbox.ORPHANED
    assert engine.mailboxes.is_gone
    (tmp_path / "mail").mkdir()
    assert not engine.mailboxes.is_gone
    engine.close()


def test_leftovers_of_a_killed_driver_are_removed_later(tmp_path: Path) -> None:
    mail, own = tmp_path / "run-other" / "mail", tmp_path / "run-2024" / "mail"
    for folder in (mail, own):
        folder.mkdir(parents=True)
    (mail / mailbox.SPEC).touch()
    long_ago = time.time() - 2 * slurm.ABANDONED
    for path in (*tmp_path.iterdir(), own):
        os.utime(path, (long_ago, long_ago))
    slurm._run_folder(tmp_path)
    assert mail.exists(), "its driver lives"
    os.utime(mail, (long_ago, long_ago))
    slurm._run_folder(tmp_path)
    assert not (tmp_path / "run-other").exists()
    assert own.exists(), "a folder of the user's own, whatever its name"


@pytest.mark.parametrize("in_mail", [True, False])
def test_an_unwritable_shared_folder_is_refused_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_mail: bool
) -> None:
    engine = slurm_engine(tmp_path)
    engine.mailboxes.close()
    engine.options = replace(engine.options, cluster="local", workers=1)
    full, library = OSError(28, "No space left on device"), MagicMock()
    monkeypatch.setattr(slurm, "_library", lambda: library)
    library.AutoExecutor.side_effect = full
    if in_mail:
        monkeypatch.setattr(mailbox.Mailboxes, "open", Mock(side_effect=full))
    with pytest.raises(ConvbenchError, match=r"cannot be written \(No space.*--resume"):
        engine.start()
    engine.close()
