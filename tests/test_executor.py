"""Executors: what each must keep, what the fake invents, and that a sweep relies on nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import convbench
from convbench.cli import app
from convbench.cli.list import _description
from convbench.core.errors import CaseFailed, ConvbenchError, Impossible, StoreError, Unavailable
from convbench.core.record import Case, Choice, Clip, Parts, Protocol, Record, Training, Trial, Whole
from convbench.core.registry import declares, executors, variants
from convbench.core.storage import cache, merging, store
from convbench.core.traits import VariantTraits
from convbench.plugins.executors.fake import invented
from convbench.runs import preparation, sweep
from convbench.runs.executor import Executor, Host, Job, JobRecord, job_records, measure_here, pin
from convbench.suite import from_data, load
from convbench.suite.selection import Selection

QUICK = Protocol(max_warmup=0.02, max_time=0.05, min_samples=6, target=0.5, timeout=60)


def case(size: int = 32, *variant: Choice) -> Case:
    return Case(Parts(Choice("conv"), Choice("fc"), size), Clip(1, 2, 3, 8, 8), variant)


def jobs(*sizes: int, **more) -> Iterator[Job]:
    return (Job(case(size), QUICK, **more) for size in sizes)


# --- Every executor ---------------------------------------------------------------------------------------------------


ELSEWHERE = ("ray", "slurm")
"""These need a cluster and take a whole round at once. ``test_ray``, ``test_slurm`` and ``test_cluster`` test them."""


@pytest.mark.parametrize("name", [plugin.name for plugin in executors if plugin.name not in ELSEWHERE])
def test_an_executor_describes_its_hosts_and_stamps_their_records(name: str) -> None:
    sizes: list[int] = []

    def offered() -> Iterator[Job]:
        for job in jobs(8, 16, 24, metrics=("params",)):
            sizes.append(job.case.architecture.lstm_input)
            yield job

    with executors.get(name).build("cpu", [case()]) as executor:
        (host,) = executor.hosts
        assert host.device == "cpu"
        assert host.available_bytes > 2**20
        assert host.cores
        visits = executor.run(offered())
        job, record = next(visits)
        assert (job.case, record.environment, record.status) == (record.case, host.fingerprint, "ok")
        assert sizes == [8], "the next job is taken when the host is free, not before"
        assert len(list(visits)) == 2
        assert len(list(executor.run(jobs(8, metrics=("params",))))) == 1, "it can be asked again"


@pytest.mark.parametrize("name", ["in-process", "isolated"])
def test_a_failed_case_is_recorded_before_the_next_is_measured(name: str) -> None:
    wrong = Job(Case(Parts(Choice("conv"), Choice("fc"), 32), Clip(1, 2, 3, 1, 1)), QUICK, ("latency",))
    broken = replace(wrong, case=replace(wrong.case, variant=(Choice("wild:no_such_variant"),)))
    with executors.get(name).build("cpu", []) as executor:
        failed, fine = (record for _, record in executor.run([broken, *jobs(8, metrics=("latency",))]))
    assert (failed.status, fine.status) == ("failed", "ok")
    assert "no_such_variant" in failed.failure.message


@pytest.mark.parametrize("name", ["in-process", "isolated"])
def test_pinning_to_cores_ends_with_its_job(name: str) -> None:
    core = min(os.sched_getaffinity(0))
    with executors.get(name).build("cpu", []) as executor:
        pinned_job, all_ = (Job(case(8), QUICK, ("latency",), cores=cores) for cores in ((core,), ()))
        pinned_record, free_record = (record for _, record in executor.run([pinned_job, all_]))
    assert pinned_record.conditions["threads"] == 1
    assert free_record.status == "ok"
    assert core in os.sched_getaffinity(0)


@pytest.mark.parametrize("name", ["in-process", "isolated"])
def test_a_record_names_the_users_code(name: str) -> None:
    """In-process records used to name no code, so --resume mixed them with records of newer code."""
    own = Case(Whole(Choice("wild:Article")), Clip(1, 2, 3, 8, 8))
    with executors.get(name).build("cpu", [own]) as executor:
        ((_, record),) = executor.run([Job(own, QUICK, ("params",))])
    assert record.status == "ok"
    assert "wild" in record.code


@pytest.mark.parametrize("name", ["in-process", "isolated"])
def test_cases_announced_later_add_their_runtimes_to_a_host(name: str) -> None:
    """Runs before and after an upgrade of ONNX Runtime used to have the same fingerprint."""
    with executors.get(name).build("cpu", []) as executor:
        before = executor.hosts[0]
        executor.expect([case(8, Choice("onnxruntime"))])
        after = executor.hosts[0]
    assert set(after.facts) - set(before.facts) == {"onnxruntime", "onnx", "onnxscript"}
    assert after.fingerprint != before.fingerprint


def test_pinning_ends_with_its_block() -> None:
    before = os.sched_getaffinity(0)
    with pin([min(before)]):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


def test_a_case_that_needs_another_process_is_skipped_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convbench.measure.machine.malloc.find_library", lambda name: f"lib{name}.so")
    variant = Choice("allocator", (("malloc", "jemalloc"),))
    with executors.get("in-process").build("cpu", []) as executor:
        counted, timed = (Job(case(8, variant), QUICK, metrics) for metrics in (("params",), ("latency",)))
        fine, skipped = (record for _, record in executor.run([counted, timed]))
    assert (fine.status, skipped.status) == ("ok", "skipped")
    assert skipped.failure.message.endswith("LD_PRELOAD: run it with --executor isolated")


def test_an_executor_that_passes_no_variables_on_measures_no_case_that_needs_them(monkeypatch) -> None:
    """A user's executor, as the recipe had it, measured such a case as if its process had the variables."""
    monkeypatch.setattr(variants, "_plugins", {plugin.name: plugin for plugin in variants})
    needy = declares(VariantTraits(environment=lambda: {"SHOP_FLAG": "1"}))(lambda subject: subject)
    variants.register("needy")(needy)
    with pytest.raises(Unavailable, match="started a process without SHOP_FLAG: it has to pass on the variables"):
        measure_here(Job(case(8, Choice("needy")), QUICK, ("latency",)))


def test_a_case_that_changes_its_process_is_skipped_in_process() -> None:
    """glibc's settings used to stay for all later cases, which were recorded as eager."""
    before = os.environ.get("MALLOC_TOP_PAD_")
    arena = Choice("allocator", (("malloc", "glibc-arena"),))
    with executors.get("in-process").build("cpu", []) as executor:
        (skipped,) = (record for _, record in executor.run([Job(case(8, arena), QUICK, ("latency",))]))
    assert (skipped.status, os.environ.get("MALLOC_TOP_PAD_")) == ("skipped", before)
    assert skipped.failure.message.endswith("changes the process that it runs in: run it with --executor isolated")


@declares(VariantTraits(engine="elsewhere", modules=("no_such_engine.runtime",)))
def elsewhere(subject):
    """Run the model in an engine that is not installed."""
    return import_module("no_such_engine.runtime").run(subject)


@declares(VariantTraits(engine="elsewhere", modules=("no_such_engine.runtime",)))
def lazily(subject):
    """Run the model in an engine that is not installed, and import it in the first call only."""
    return subject


@pytest.mark.parametrize("variant", [elsewhere, lazily])
def test_any_variant_without_its_installed_engine_is_skipped(variant) -> None:
    """Only convbench's own variants used to have ``modules`` checked, and `list` crashed if the parent was missing."""
    path = f"{variant.__module__}:{variant.__name__}"
    with executors.get("in-process").build("cpu", []) as executor:
        (skipped,) = (record for _, record in executor.run([Job(case(8, Choice(path)), QUICK, ("latency",))]))
    assert (skipped.status, skipped.failure.message) == (
        "skipped",
        f"the variant {path} needs no_such_engine.runtime, which is not installed: install it",
    )
    assert "[not installed: no_such_engine.runtime]" in _description(variants.get(path))


# --- The fake ---------------------------------------------------------------------------------------------------------


def test_the_fake_answers_in_the_order_its_hosts_finish() -> None:
    seconds = {8: 5.0, 16: 1.0, 24: 1.0, 32: 9.0}

    def answer(job: Job, host: Host) -> Record:
        return Record(job.case, "ok", seconds=seconds[job.case.architecture.lstm_input])

    fake = executors.get("fake").build("cpu", [], machines=2, answer=answer)
    order = [job.case.architecture.lstm_input for job, _ in fake.run(jobs(8, 16, 24, 32))]
    assert order == [16, 24, 8, 32]
    assert [(host.name, at) for _, host, at in fake.started] == [
        ("fake-1", 0.0), ("fake-2", 0.0), ("fake-2", 1.0), ("fake-2", 2.0),
    ]  # fmt: skip
    assert fake.now == 11.0


def test_the_fake_uses_the_named_host_and_records_errors() -> None:
    def answer(job: Job, host: Host) -> Record:
        raise CaseFailed("crash", f"{host.name} burnt down")

    fake = executors.get("fake").build("cpu", [], machines=3, answer=answer)
    ((_, record),) = fake.run([next(jobs(8, host="fake-3"))])
    assert (record.failure.kind, record.failure.message) == ("crash", "fake-3 burnt down")


def test_the_fake_repeats_its_samples_and_varies_them_by_visit() -> None:
    first, again, later = (
        next(executors.get("fake").build("cpu", []).run([Job(case(8), QUICK, visit=visit)]))[1] for visit in (0, 0, 1)
    )
    assert first == again != later


# --- The sweep on top of an executor ----------------------------------------------------------------------------------


class Quiet:
    def begins(self, case: Case, stage: object) -> None: ...

    def ended(self, record: Record) -> None: ...


def test_a_sweep_takes_facts_and_records_from_the_executor_alone(tmp_path: Path) -> None:
    suite = load("smoke")
    with executors.get("fake").build("cuda:3", suite.cases, machines=2) as fake:
        prepared = preparation.prepare(suite, fake, Selection(), "")
        records = sweep.measure(prepared, tmp_path, sweep.begin(prepared, tmp_path, resume=False), Quiet())
    assert {record.case.device for record in records} == {"cuda:3"}
    assert {record.environment for record in records} == {fake.hosts[0].fingerprint}
    run, stored = store.load(tmp_path)
    assert (run.environment["cpu"], run.fingerprint) == ("invented", fake.hosts[0].fingerprint)
    assert [record.case.id for record in stored] == list(run.planned)
    assert len({host.name for _, host, _ in fake.started}) == 2


def test_each_kind_of_host_has_its_own_quiet_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    suite = load("smoke")
    with executors.get("fake").build("cpu", suite.cases, machines=2) as fake:
        other = replace(fake.hosts[1], facts={**fake.hosts[1].facts, "cpu": "other"}, fingerprint="other")
        fake._hosts[1] = other
        for seconds, host in enumerate(fake.hosts, 1):
            cache.keep("reference", host.facts, float(seconds), "cpu", None)
        records = sweep.measure_unstored(preparation.prepare(suite, fake, Selection(), ""))
        expected = {fake.hosts[0].fingerprint: 1.0, "other": 2.0}
    known = {(record.environment, record.conditions["quiet_reference_s"]) for record in records}
    assert known == set(expected.items())


@pytest.mark.parametrize("awaits", [True, False])
def test_a_run_of_two_kinds_resumes_while_one_may_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, awaits: bool
) -> None:
    """The queue gives the kind that stood for the run later this time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    suite = load("smoke")
    with executors.get("fake").build("cpu", suite.cases, machines=2) as fake:
        fake._hosts[1] = replace(
            fake.hosts[1], facts={**fake.hosts[1].facts, "cpu": "other"}, fingerprint="other", name="other"
        )
        prepared = preparation.prepare(suite, fake, Selection(), "")
        done = sweep.measure(prepared, tmp_path, sweep.begin(prepared, tmp_path, resume=False), Quiet())
        assert {record.environment for record in done} == {host.fingerprint for host in fake.hosts}
        del fake._hosts[0]
        monkeypatch.setattr(type(fake), "awaits_hosts", awaits)
        if awaits:
            assert len(sweep.begin(prepared, tmp_path, resume=True)) == len(done)
        else:
            with pytest.raises(StoreError, match="measured on a kind of host that is missing now"):
                sweep.begin(prepared, tmp_path, resume=True)
        fake._hosts[0] = replace(fake.hosts[0], fingerprint="upgraded")
        with pytest.raises(StoreError, match=r"its environment .* differs"):
            sweep.begin(prepared, tmp_path, resume=True)


def test_resume_repeats_skipped_cases_and_not_failed_ones(tmp_path: Path) -> None:
    """Installing the missing compiler used to change nothing: no case was measured again."""
    suite = load("smoke")
    with executors.get("fake").build("cpu", suite.cases) as fake:
        first, second, *_ = (case.id for case in preparation.prepare(suite, fake, Selection(), "").planned_cases)

    def lacking(job: Job, host: Host) -> Record:
        if job.case.id in (first, second):
            raise Unavailable("needs a compiler") if job.case.id == first else CaseFailed("crash", "killed")
        return invented(job, host)

    def run(answer: Callable[[Job, Host], Record], resume: bool) -> dict[str, str]:
        with executors.get("fake").build("cpu", suite.cases, answer=answer) as fake:
            prepared = preparation.prepare(suite, fake, Selection(), "")
            records = sweep.measure(prepared, tmp_path, sweep.begin(prepared, tmp_path, resume=resume), Quiet())
        return {record.case.id: record.status for record in records}

    before = run(lacking, resume=False)
    assert (before[first], before[second]) == ("skipped", "failed")
    assert run(invented, resume=True) == before | {first: "ok"}


def another(host: Host, **facts: object) -> Host:
    return replace(host, name="other", facts={**host.facts, **facts}, fingerprint="other")


def test_a_kind_of_host_that_joins_and_leaves_is_recorded(tmp_path: Path) -> None:
    """No file used to describe the fingerprint of its records, even if the command was killed."""

    class Joining(Quiet):
        def __init__(self, hosts: list[Host]) -> None:
            self.hosts, self.made = hosts, 0

        def ended(self, _record: Record) -> None:
            self.made += 1
            if self.made == 1:
                self.hosts.append(another(self.hosts[0], cpu="other"))
            elif len(self.hosts) > 1:
                assert store.read_description(tmp_path).environments["other"]["cpu"] == "other"
                del self.hosts[1]

    suite = load("smoke")
    with executors.get("fake").build("cpu", suite.cases) as fake:
        prepared, first = preparation.prepare(suite, fake, Selection(), ""), fake.hosts[0]
        sweep.measure(prepared, tmp_path, sweep.begin(prepared, tmp_path, resume=False), Joining(fake._hosts))
    run = store.read_description(tmp_path)
    assert run.hosts == {first.name: first.fingerprint, "other": "other"}
    assert run.environments == {first.fingerprint: run.environment, "other": {**run.environment, "cpu": "other"}}


@pytest.mark.parametrize(("facts", "goes_on"), [({"cpu": "other"}, True), ({"torch": "9"}, False)])
def test_a_cluster_run_accepts_new_kinds_but_no_upgraded_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict, goes_on: bool
) -> None:
    """If a queue gave another kind first, the environment used to count as changed."""
    suite = load("smoke")
    with executors.get("fake").build("cpu", suite.cases) as fake:
        prepared = preparation.prepare(suite, fake, Selection(), "")
        done = sweep.measure(prepared, tmp_path, sweep.begin(prepared, tmp_path, resume=False), Quiet())
        fake._hosts[0] = another(fake.hosts[0], **facts)
        with pytest.raises(StoreError, match=f"its environment \\({next(iter(facts))}\\) differs"):
            sweep.begin(prepared, tmp_path, resume=True)
        monkeypatch.setattr(type(fake), "awaits_hosts", True)
        if goes_on:
            assert len(sweep.begin(prepared, tmp_path, resume=True)) == len(done)
            assert set(store.read_description(tmp_path).environments) == {done[0].environment, "other"}
        else:
            with pytest.raises(StoreError, match=r"its environment \(torch\) differs"):
                sweep.begin(prepared, tmp_path, resume=True)


@pytest.mark.parametrize("by_command", [True, False])
def test_a_bad_output_directory_is_refused_before_hosts_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_command: bool
) -> None:
    """This used to be reported only after a job array was submitted and had waited in the queue."""

    def run(*overrides: str, resume: bool = False) -> None:
        if by_command:
            words = ["run", "smoke", *overrides, "--executor", "fake", "--out", str(tmp_path)]
            done = CliRunner().invoke(app, [*words, *(["--resume"] if resume else [])])
            if isinstance(done.exception, ConvbenchError):
                raise done.exception
        else:
            convbench.run("smoke", overrides=overrides, executor="fake", out=tmp_path, resume=resume)

    fake = executors.get("fake").build
    monkeypatch.setattr(type(fake("cpu")), "awaits_hosts", True)
    run()
    monkeypatch.setattr(type(fake("cpu")), "hosts", property(lambda _: pytest.fail("hosts were asked for")))
    with pytest.raises(StoreError, match="its protocol differs"):
        run("protocol.max_time=9", resume=True)
    with pytest.raises(StoreError, match=r"its suite's name \(smoke\) differs"):
        run("name=b", resume=True)
    with store.hold_directory(tmp_path), pytest.raises(StoreError, match="another convbench"):
        run()
    (tmp_path / store.RUN).unlink()
    with pytest.raises(StoreError, match=r"its run\.json is lost"):
        run(resume=True)


@pytest.mark.parametrize(
    ("only", "refusal"),
    [(("gpa",), "none of its .* is selected by --only gpa, which may mean gap"),
     (("gap", "gpa"), "--only gpa matches none of the cases"),
     (("cudda:1",), "is selected by --only cudda:1"), (("threads=seven",), "is selected by --only threads=seven"),
     (("*gap*cuda:4/threads=8",), ""), (("cuda:[0-3]",), ""), (("threads=1?",), ""), (("threads=4096",), ""),
     (("*/gap/*/cuda:17",), ""), (("*/gpa/*/cuda:17",), "none of its 2 cases is selected: "),
     (("cuda:1",), ""), (("threads=7",), ""), (("gap",), "")],
)  # fmt: skip
def test_a_pattern_without_a_case_is_refused_before_hosts_are_asked(only, refusal, monkeypatch) -> None:
    """A typo was refused after a job array had waited in the queue; a device or number of cores may still come."""
    suite = from_data({"matrix": {"reducer": "gap", "threads": [1, "all"]}})
    fake = executors.get("fake").build("cpu", suite.cases)
    monkeypatch.setattr(type(fake), "call", Executor.call)
    monkeypatch.setattr(type(fake), "awaits_hosts", True)
    monkeypatch.setattr(type(fake), "hosts", property(lambda _: []))
    with pytest.raises(ConvbenchError, match=refusal or "the executor has no host"):
        preparation.prepare(suite, fake, Selection(only), "")


def test_a_damaged_run_is_not_changed_when_it_is_to_be_resumed(tmp_path: Path) -> None:
    """Its last line used to be cut off first. All of a file without our ends of lines is its last line."""
    suite = load("smoke")
    with executors.get("fake").build("cpu", suite.cases) as fake:
        prepared = preparation.prepare(suite, fake, Selection(), "")
        sweep.measure(prepared, tmp_path, sweep.begin(prepared, tmp_path, resume=False), Quiet())
        results = tmp_path / store.RESULTS
        results.write_bytes(results.read_text().encode("utf-16"))
        before = {name: (tmp_path / name).read_bytes() for name in (store.RESULTS, store.RUN)}
        with pytest.raises(StoreError, match="not a record"):
            sweep.begin(prepared, tmp_path, resume=True)
        assert before == {name: (tmp_path / name).read_bytes() for name in before}


def test_a_run_whose_budget_ended_resumes_with_another_budget(tmp_path: Path) -> None:
    def begin(*overrides: str) -> None:
        suite = load("smoke", overrides)
        with executors.get("fake").build("cpu", suite.cases) as fake:
            sweep.begin(preparation.prepare(suite, fake, Selection(), ""), tmp_path, resume=True)

    begin("protocol.budget=60")
    begin("protocol.budget=1200")
    begin()
    assert not (tmp_path / "previous").exists()
    with pytest.raises(StoreError, match="its protocol differs"):
        begin("protocol.max_time=9")


def test_a_run_that_is_extended_twice_knows_both_runs_that_it_was(tmp_path: Path) -> None:
    """A history would show copies of them beside it. To resume it with the same cases changes nothing."""
    runs = []
    for place, reducers in enumerate((["gap"], ["gap", "gmp"], ["gmp", "gap"], ["gap", "gmp", "gem"])):
        suite = from_data({"name": "t", "matrix": {"reducer": reducers}}, ())
        with executors.get("fake").build("cpu", suite.cases) as fake:
            sweep.begin(preparation.prepare(suite, fake, Selection(), f"call {place}"), tmp_path, resume=True)
        runs.append(store.read_description(tmp_path))
    first, second, resumed, third = runs
    assert resumed == second
    assert third.parts == (merging.identity(first), merging.identity(second))
    assert third.command == "call 3" and "gem" in third.suite


def test_a_changed_meaning_of_all_threads_is_named(tmp_path: Path) -> None:
    def begin(cores: int, **more: object) -> None:
        suite = from_data({"name": "t", "matrix": {"reducer": ["gap", "gmp"], "threads": [1, "all"], **more}}, ())
        with executors.get("fake").build("cpu", suite.cases) as fake:
            fake._hosts[0] = replace(fake.hosts[0], cores=tuple(range(cores)))
            sweep.begin(preparation.prepare(suite, fake, Selection(), ""), tmp_path, resume=True)

    begin(64)
    with pytest.raises(StoreError, match=r"its list of cases \(`threads: all` means 32 here and meant 64: write"):
        begin(32)
    with pytest.raises(StoreError, match=r"its list of cases \(it has .*, and the suite does not now\) differs"):
        begin(64, rnn="lstm8")


def test_an_interruption_is_raised_although_the_table_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupting(Quiet):
        def ended(self, _record: Record) -> None:
            raise KeyboardInterrupt

    def full(*_: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(sweep, "write_csv", full)
    suite = load("smoke")
    with executors.get("fake").build("cpu", suite.cases) as fake:
        prepared = preparation.prepare(suite, fake, Selection(), "")
        with pytest.raises(KeyboardInterrupt):
            sweep.measure(prepared, tmp_path, sweep.begin(prepared, tmp_path, resume=False), Interrupting())


def test_a_case_must_fit_into_its_hosts_memory() -> None:
    suite = load("smoke")
    with (
        executors.get("fake").build("cpu", suite.cases, memory_bytes=2**10) as small,
        pytest.raises(Impossible, match="GiB are available"),
    ):
        preparation.prepare(suite, small, Selection(), "")


def test_an_unknown_executor_is_refused_in_one_message() -> None:
    with pytest.raises(ConvbenchError, match="unknown executor 'isolatd'; did you mean 'isolated'"):
        preparation.executor_of(load("smoke"), "cpu", "isolatd")


class Silent(Executor):
    """An executor that implements neither ``hosts`` nor ``run``."""

    def __init__(self, device: str, cases: Sequence[Case] = ()) -> None: ...


class WithoutHosts(Silent):
    hosts = ()

    def run(self, _jobs: Iterable[Job]) -> Iterator[JobRecord]:
        yield from ()


def test_a_broken_third_party_executor_is_named_in_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executors, "_plugins", {plugin.name: plugin for plugin in executors})
    executors.register("silent")(Silent)
    with pytest.raises(
        ConvbenchError, match=r"^the executor 'silent' raised TypeError: .*abstract.*\(test_executor.py\)$"
    ):
        preparation.named_executor("silent", "cpu", (), {})
    executors.register("nothing")(lambda _device, _cases: None)
    with pytest.raises(ConvbenchError, match="the executor nothing made NoneType: derive it from "):
        preparation.named_executor("nothing", "cpu", (), {})
    with pytest.raises(ConvbenchError, match="no host"):
        preparation.prepare(load("smoke"), WithoutHosts("cpu"), Selection(), "")


class Yields(WithoutHosts):
    """An executor whose ``run`` returns a given value."""

    def __init__(self, yielded: Any) -> None:
        self.yielded = yielded

    def run(self, _jobs: Iterable[Job]) -> Any:
        return self.yielded


@pytest.mark.parametrize(
    ("yielded", "words"),
    [
        (None, "the executor Yields returned None: its run() must yield each job with its record"),
        ([3], "the executor Yields yielded 3: its run() must yield each job with its record"),
        ([(Job(case(), Protocol()), None)], "its run() must yield each job with its record"),
    ],
)
def test_an_executor_that_yields_something_else_is_named(yielded: Any, words: str) -> None:
    """This used to end as an internal error."""
    with pytest.raises(ConvbenchError, match=re.escape(words)):
        list(job_records(Yields(yielded), ()))


def test_cpu_trainings_run_side_by_side_until_a_deciding_job() -> None:
    """A look at the answer needs every earlier training."""
    training = Training(steps=2, checkpoints=1, train_clips=40, val_clips=20, test_clips=20)
    learns = Case(Parts(Choice("strided"), Choice("gap"), None, rnn=case().architecture.rnn), Clip(8, 2, 1, 16, 16))
    learns = replace(learns, scenario="learn", trial=Trial(Choice("direction"), 0, 1e-3))
    ended: list[Record] = []
    before: list[int] = []

    def offered() -> Iterator[Job]:
        for seed in range(3):
            before.append(len(ended))
            of = replace(learns, trial=replace(learns.trial, seed=seed))
            yield Job(of, replace(QUICK, training=training), decides=seed == 1)

    with executors.get("isolated").build("cpu", [learns]) as executor:
        for _, record in executor.run(offered()):
            ended.append(record)
        cores = len(executor.hosts[0].cores)
    assert [record.status for record in ended] == ["ok"] * 3
    assert before[2] == 2
    assert before[1] == (0 if cores > 1 else 1)
    assert not Job(learns, QUICK).takes_times
    assert Job(replace(learns, device="cuda"), QUICK).takes_times
