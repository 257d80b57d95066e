"""Real processes: whatever a case does to its process becomes a Record and affects no other case."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing.util import Finalize
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import psutil
import pytest

from convbench.core import metrics
from convbench.core.errors import CaseFailed, ConvbenchError, StoreError, Unavailable
from convbench.core.record import FACTS, Case, Choice, Clip, Parts, Protocol, Reading, Record, Trial, Whole
from convbench.core.registry import executors
from convbench.measure import progress
from convbench.measure.attempts import explain, explain_death
from convbench.measure.machine.malloc import preload
from convbench.plugins.executors.isolated import Isolated, _JobPool, measure
from convbench.runs.early_server import COMPILER
from convbench.runs.executor import Host, Job
from convbench.runs.probe_plan import ProbePlan, jobs, visit_record
from convbench.runs.process import processes, running, start
from convbench.runs.process.processes import Processes
from convbench.runs.process.running import ProcessCall
from convbench.runs.process.start import TRAINED, end_stopped_forkserver, forkserver_pid, hold_interrupts, is_alive
from convbench.runs.schedule import Schedule

QUICK = Protocol(max_warmup=0.02, max_time=0.05, min_samples=6, target=0.5, timeout=60)
SMALL = Clip(1, 2, 3, 8, 8)


def ending(how: str) -> Case:
    return Case(Whole(Choice("wild:Ending", (("how", how),))), SMALL)


def gap(*variant: Choice) -> Case:
    return Case(Parts(Choice("conv"), Choice("gap"), 32), SMALL, variant)


@pytest.fixture(scope="module")
def isolated():
    with isolation() as executor:
        yield executor


def isolation(*cases: Case):
    return executors.get("isolated").build("cpu", cases)


def only(case: Case, executor, protocol: Protocol = QUICK, metrics: tuple[str, ...] = ()) -> object:
    ((_, record),) = executor.run([Job(case, protocol, metrics)])
    return record


def kill_the_server(place: str, times: int) -> str:
    """Kill the server that forked this process, until ``times`` calls have done so."""
    before = Path(place).read_text()
    if len(before) < times:
        Path(place).write_text(before + "x")
        os.kill(os.getppid(), signal.SIGKILL)
        threading.Event().wait(60)
    return "returned"


def test_a_deleted_working_directory_is_reported(tmp_path, monkeypatch):
    """A run used to end in a traceback and exit code 70."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConvbenchError, match="the working directory has been deleted"):
        Processes()


def test_a_daemonic_process_is_told_to_measure_in_process(monkeypatch):
    """This used to end in "AssertionError: daemonic processes are not allowed to have children"."""
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(ConvbenchError, match=r"cannot start processes.*or measure with the executor in-process"):
        Processes()


@pytest.mark.parametrize("times", [1, 2])
def test_a_call_is_repeated_once_after_its_server_is_killed(tmp_path, times):
    place = tmp_path / "calls"
    place.write_text("")
    with closing(Processes()) as processes:
        call = ProcessCall(kill_the_server, (str(place), times), timeout=60)
        if times == 1:
            assert processes.run(call) == "returned"
        else:
            with pytest.raises(CaseFailed, match=r"^killed by SIGKILL, with the server that starts processes$"):
                processes.run(call)
        assert len(place.read_text()) == times
        assert processes.run(ProcessCall(len, ("abc",))) == 3


def test_the_user_is_told_once_of_a_long_wait(tmp_path, monkeypatch, caplog):
    """A user's clips that took long were waited for 420 s without a word."""
    now, (receiver, sender) = [0.0], multiprocessing.Pipe(duplex=False)
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def wait(_: object, seconds: float) -> None:
        now[0] += seconds
        if now[0] == 2 * running.SECONDS_OF_SILENCE:
            sender.send("ready")

    monkeypatch.setattr(running, "wait", wait)
    process = SimpleNamespace(is_alive=lambda: True, sentinel=0, join=lambda _: None)
    for activity in ("", "checking the suite's cases"):
        call = running.RunningCall(ProcessCall(len, (), timeout=420.0, activity=activity), tmp_path)
        now[0] = 0.0
        call.begins(process, receiver)
        assert call.result() == "ready"
    assert caplog.messages == ["convbench: checking the suite's cases takes longer than 20 s: waiting for up to 420 s"]


def stop_the_server(place: str) -> str:
    """Stop the server, so that it neither starts a process nor reports the end of one."""
    os.kill(os.getppid(), signal.SIGSTOP)
    return place


class StopTimer(threading.Timer):
    """A timer whose time is up as soon as the server is stopped."""

    def run(self) -> None:
        assert self.interval == 60.0 + start.PATIENCE
        while not self.finished.wait(0.01):
            with suppress(psutil.NoSuchProcess):
                if psutil.Process(forkserver_pid()).status() == psutil.STATUS_STOPPED:
                    self.function()


def test_a_stopped_server_is_replaced(monkeypatch):
    """``run`` waited for it until Ctrl-C."""
    monkeypatch.setattr(threading, "Timer", StopTimer)
    monkeypatch.setattr(processes, "PRELOAD", [])
    with closing(Processes()) as fresh_processes:
        assert fresh_processes.run(ProcessCall(stop_the_server, ("ended",), timeout=60.0)) == "ended"
        fresh_processes.warm()
        os.kill(server := forkserver_pid(), signal.SIGSTOP)
        assert fresh_processes.run(ProcessCall(abs, (-1,), timeout=60.0)) == 1
        assert server != forkserver_pid()


@pytest.mark.parametrize(("method", "waits"), [("forkserver", True), ("spawn", False)])
def test_a_process_that_does_not_wait_for_the_server_does_not_end_it(monkeypatch, method, waits):
    """A case of a variant with variables that a GPU's driver kept would have ended the other cases' server."""
    monkeypatch.setattr(threading, "Timer", timer := Mock())
    with end_stopped_forkserver(multiprocessing.get_context(method).Process(), 1.0):
        assert timer.return_value.start.called is waits


def wrong_by_far() -> None:
    raise CaseFailed("wrong output", "differs from eager's", [Reading(metrics.PARITY_LARGEST, (math.inf,))])


def test_readings_known_before_a_failure_are_kept(isolated):
    with pytest.raises(CaseFailed, match="differs from eager's") as failed:
        isolated.processes.run(ProcessCall(wrong_by_far))
    assert failed.value.results == (Reading(metrics.PARITY_LARGEST, (math.inf,)),)


def fails_and_cleans_up(place: str) -> None:
    """Fail, and leave a cleanup for the end of the process, as the semaphore of a lock does."""
    Finalize(None, put_away, (place,), exitpriority=0)
    raise ValueError("not this one")


def put_away(place: str) -> None:
    threading.Event().wait(0.3)
    Path(place).write_text("put away")


def test_a_failed_call_can_clean_up_as_its_process_ends(tmp_path, isolated):
    with pytest.raises(CaseFailed, match=r"^ValueError: not this one \(test_isolate.py:\d+\)$"):
        isolated.processes.run(ProcessCall(fails_and_cleans_up, (str(tmp_path / "place"),)))
    assert (tmp_path / "place").read_text() == "put away"


def falls_over_beside_a_child() -> None:
    """Crash while a child, which holds the pipe for the answer, lives on."""
    if not os.fork():
        threading.Event().wait(600)
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize("forks", [True, False])
def test_a_crash_is_reported_although_a_child_lives_on(isolated, forks):
    """The call used to wait for its time limit and report a timeout."""
    with pytest.raises(CaseFailed, match=r"^killed by SIGSEGV"):
        isolated.processes.run(ProcessCall(falls_over_beside_a_child, forks=forks, timeout=30))


def forks_a_child(ending: str) -> str:
    """Let a child go on with the call, or leave it by an exception, and wait for it."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return "of the parent"
    if ending == "exit":
        sys.exit(0)
    if ending == "raise":
        raise ValueError("of the child")
    return "of the child"


@pytest.mark.parametrize("ending", ["exit", "raise", "return"])
def test_a_child_that_the_users_code_forks_has_no_answer(isolated, ending):
    """The case failed with the SystemExit of its child."""
    assert isolated.processes.run(ProcessCall(forks_a_child, (ending,))) == "of the parent"


def test_a_process_with_a_session_and_an_environment_of_its_own_ends_with_its_call(isolated):
    """Such a server of a model's own used to outlive the command, and to disturb the cases after it."""
    script = "import subprocess as s; print(s.Popen(['sleep', '60'], env={}, start_new_session=True, stdout=-3).pid)"
    pid = isolated.processes.run(ProcessCall(subprocess.check_output, ([sys.executable, "-c", script],)))
    assert not is_alive(int(pid))


def writes_into_the_pipe() -> None:
    progress._listeners[0].__self__._send_bytes(b"junk")


def test_what_cannot_be_read_as_an_answer_fails_the_call_alone(isolated):
    """An UnpicklingError used to end the run."""
    with pytest.raises(CaseFailed, match="ended with exit code 0 and no result"):
        isolated.processes.run(ProcessCall(writes_into_the_pipe))


def test_a_refused_process_start_is_reported_and_spares_the_server(monkeypatch):
    def refused(_process):
        raise OSError(24, "Too many open files")

    with closing(Processes()) as processes:
        assert processes.run(ProcessCall(len, ("abc",))) == 3
        server = forkserver_pid()
        with monkeypatch.context() as patched, pytest.raises(OSError, match="Too many open files"):
            patched.setattr("multiprocessing.process.BaseProcess.start", refused)
            processes.run(ProcessCall(len, ("abc",)))
        assert forkserver_pid() == server
        assert is_alive(server)


VISITS = Protocol(max_warmup=0.02, max_time=0.05, min_samples=6, target=0.5, timeout=60, visits=3)


def test_facts_of_several_cases_are_measured_side_by_side(isolated):
    """Each failed case has a record of its own, and a timed visit waits for all of them."""
    facts = [gap(), ending("raise"), gap(Choice("nosuch"))]
    jobs = [Job(case, VISITS, ("params", "memory"), FACTS) for case in facts]
    jobs.append(Job(gap(), VISITS, ("latency",), 0, (min(os.sched_getaffinity(0)),), checked=True))
    visits = list(isolated.run(jobs))
    assert {job.case.id for job, _ in visits[:3]} == {case.id for case in facts}
    statuses = {job.case.id: record.status for job, record in visits[:3]}
    assert [statuses[case.id] for case in facts[:2]] == ["ok", "failed"]
    assert statuses[facts[2].id] == "failed"
    job, record = visits[3]
    assert (job.visit, record.status, record.conditions["threads"]) == (0, "ok", 1)
    assert {"latency_s", "reference_s", "run_delay_share"} <= {reading.metric.name for reading in record.readings}


@pytest.mark.parametrize("visit", [FACTS, 0])
def test_a_run_whose_scratch_folder_was_removed_ends_instead_of_failing_its_cases(visit):
    """Each case left became a failed one, which ``--resume`` does not repeat, and a dry run ended in a traceback."""
    with isolation() as executor:
        assert executor.hosts
        shutil.rmtree(executor.processes.scratch)
        with pytest.raises(StoreError, match=r"no scratch folder can be made there \(No such file or directory\)"):
            list(executor.run([Job(gap(), VISITS, ("params",), visit)]))


def test_a_case_with_wrong_facts_is_not_timed(isolated, monkeypatch):
    """Facts are measured side by side. The last case's facts used to be missing when the first round began."""
    monkeypatch.setattr(Isolated, "_cores", lambda *_: (0,) * 8)
    wrong = Case(Whole(Choice("wild:Unsteady")), SMALL, (Choice("channels_last"),))
    planning = Schedule([wrong], VISITS, True, float, hosts=lambda: isolated.hosts)
    rounds = []
    for job, record in isolated.run(jobs(planning, ProbePlan(("params", "memory"), ("latency",)), ())):
        planning.log.add(visit_record(job, record))
        rounds.append((job.visit, record.status))
    assert rounds == [(FACTS, "failed")]


def test_a_case_out_of_memory_beside_others_is_measured_alone(isolated, monkeypatch):
    """The last case to end used not to be repeated, although the other cases had taken its memory."""
    monkeypatch.setattr(Isolated, "_cores", lambda *_: (0,) * 8)
    cases = [Case(ending("killed").architecture, replace(SMALL, batch=batch)) for batch in (1, 2)]
    again = []

    def measure_alone(job):
        again.append(job.case)
        return Record(job.case, "ok")

    monkeypatch.setattr(isolated, "measure", measure_alone)
    visits = list(isolated.run(Job(case, VISITS, ("memory",), FACTS) for case in cases))
    assert sorted(case.id for case in again) == sorted(case.id for case in cases)
    assert [record.status for _, record in visits] == ["ok", "ok"]


def test_jobs_side_by_side_have_a_core_each_and_end_with_the_sweep():
    """A job that lacked memory although it was alone is not tried again."""
    host, running = Host("here", {}, "fingerprint", 2**30, (4, 7)), [Mock() for _ in range(3)]
    pool = _JobPool(Mock(hosts=(host,), start=Mock(side_effect=running)))
    job = Job(gap(), QUICK, ("memory",), FACTS)
    assert not [visit for _ in running for visit in pool.start(job)]
    assert [job.cores for job, _ in pool.running] == [(4,), (7,), ()]
    pool.end()
    assert all(call.end.called for call in running)
    lone = Mock(final_result=Mock(side_effect=CaseFailed("out of memory", "killed")))
    _, record = pool._visit(job, lone)
    assert (record.failure.kind, record.environment, pool.executor.measure.called) == (
        "out of memory",
        "fingerprint",
        False,
    )


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("crash", "crash", "killed by SIGSEGV; last output: about to fall over"),
        ("killed", "out of memory", "killed by SIGKILL"),
        ("exit", "crash", "exit code 7"),
        ("raise", "error", "ValueError: the user's own mistake (wild.py:"),
    ],
)
def test_every_kind_of_failure_is_a_failed_record(isolated, how, kind, message):
    record = only(ending(how), isolated)
    assert (record.status, record.failure.kind) == ("failed", kind)
    assert message in record.failure.message


def test_a_hang_ends_at_its_time_limit_without_leftover_processes(isolated):
    record = only(ending("hang"), isolated, Protocol(timeout=3))
    assert record.failure.kind == "timeout"
    doing = "(the probe [a-z]+|building the model and its first call)"
    assert re.fullmatch(rf"no result after 3 s \(protocol.timeout\) in {doing}", record.failure.message)
    ours = psutil.Process().children(recursive=True)
    assert not [process for process in ours if process.status() != "zombie" and "sleep" in str(process.cmdline())]


def test_a_good_case_is_measured_after_bad_cases(isolated):
    record = only(gap(), isolated)
    assert record.status == "ok", record.failure
    assert record.samples("latency_s")


def test_each_case_has_its_own_process(isolated):
    pids = {isolated.processes.run(ProcessCall(os.getpid)) for _ in range(3)}
    assert len(pids) == 3
    assert os.getpid() not in pids


@pytest.mark.parametrize("forks", [True, False])
def test_a_case_has_the_users_python_variables(isolated, forks):
    """A program that a model starts used to lack the folder of its script on its path."""
    value = isolated.processes.run(ProcessCall(os.getenv, ("PYTHONSAFEPATH",), forks=forks))
    assert value == os.environ.get("PYTHONSAFEPATH")


def sets_the_start_of_processes() -> str:
    multiprocessing.set_start_method("fork")
    return multiprocessing.get_start_method()


def test_the_users_code_may_set_how_processes_start(isolated):
    """Many modules do so when they are imported: "context has already been set"."""
    assert isolated.processes.run(ProcessCall(sets_the_start_of_processes)) == "fork"


def test_a_missing_allocator_skips_its_case(isolated, monkeypatch):
    monkeypatch.setattr("convbench.measure.machine.malloc.find_library", lambda _: None)
    record = only(gap(Choice("allocator", (("malloc", "jemalloc"),))), isolated)
    assert record.status == "skipped"
    assert "apt-get install libjemalloc2" in record.failure.message


@pytest.mark.parametrize("name", ["jemalloc", "tcmalloc"])
def test_an_installed_allocator_is_used(isolated, name):
    try:
        preload(malloc=name)
    except Unavailable as missing:
        pytest.skip(str(missing))
    record = only(gap(Choice("allocator", (("malloc", name),))), isolated)
    assert record.status == "ok", record.failure
    assert record.conditions["allocator"] == name


def test_the_arena_allocator_avoids_page_faults(isolated):
    article = Case(Parts(Choice("conv"), Choice("gap"), 32), Clip(), (Choice("allocator"),))
    record = only(article, isolated)
    assert record.samples("faults_per_call")[0] < 256


def test_scratch_files_are_removed_afterwards():
    with isolation() as executor:
        only(gap(), executor, metrics=("latency",))
        scratch = executor.processes.scratch
        assert scratch.exists()
        assert {entry.name.partition("-")[0] for entry in scratch.iterdir()} <= {"lock", "listener"}  # of the server
    assert not scratch.exists()


def test_a_visit_imports_nothing_that_the_server_has_not_imported():
    """Otherwise each of hundreds of visits would import convbench again, which takes a twelfth of a second.

    The server does not need the compiler's folder that a user names. Here that folder cannot be made.
    """
    work = pickle.dumps((measure, Job(gap(), VISITS, ("latency",), checked=True))).hex()
    script = (
        "import pickle, sys\nimport convbench.runs.process.forkserver_imports\nbefore = set(sys.modules)\n"
        f"work, job = pickle.loads(bytes.fromhex({work!r}))\nassert work(job).status == 'ok'\n"
        "print({name for name in set(sys.modules) - before if name.startswith('convbench')})"
    )
    variables = os.environ | {"TORCHINDUCTOR_CACHE_DIR": os.devnull + "/none"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=variables)
    assert done.stdout == "set()\n"


def test_processes_start_although_warnings_are_errors(monkeypatch):
    """torch warns on importing its compiler and on compiling. The server died, and every compiled case failed."""
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    with closing(Processes([COMPILER])) as started:
        assert started.run(ProcessCall(warns)) == "went on"


def warns() -> str:
    warnings.warn("of a library", DeprecationWarning, stacklevel=1)
    return "went on"


def compiled_in() -> tuple[int, set[str]]:
    """Return how often torch.compile finds the graph in its cache, and what the cache folder held before."""
    import torch
    from torch._dynamo.utils import counters

    before = {entry.name for entry in Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).iterdir()}
    torch.compile(lambda values: values.cos() * 2)(torch.zeros(64))
    return counters["inductor"]["fxgraph_cache_hit"], before


def test_only_visits_of_one_case_share_a_graph_cache():
    """A later visit of the same case finds its graph, and no other process does. The toolchain is ready in advance."""
    with closing(Processes((COMPILER,))) as processes:
        calls = [ProcessCall(compiled_in, compiles=True, cache=cache) for cache in ("some", "some", "")]
        hits, before = zip(*map(processes.run, calls), strict=True)
    assert hits == (0, 1, 0)
    assert before[0] and before[0] == before[2]


def test_a_case_never_sees_ctrl_c():
    """The process that started first in an interpreter used to lack the signal mask, so a fresh one is used here."""
    script = (
        "import signal\nfrom contextlib import closing\n"
        "from convbench.runs.process.processes import Processes\n"
        "from convbench.runs.process.running import ProcessCall\n"
        "if __name__ == '__main__':\n    with closing(Processes()) as processes:\n"
        "        for variables in ({}, {'NEEDS': 'a fresh interpreter'}):\n"
        "            print(processes.run(ProcessCall(signal.pthread_sigmask, (signal.SIG_BLOCK, ()), variables)))\n"
        "    print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["{<Signals.SIGINT: 2>}", "{<Signals.SIGINT: 2>}", "set()"], done.stderr


def test_ctrl_c_waits_for_a_process_to_start():
    """Another thread may receive the signal in spite of this thread's mask, and the handler still runs here."""
    began, sent = threading.Event(), threading.Event()

    def interrupts() -> None:
        began.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        sent.set()

    threading.Thread(target=interrupts).start()
    started = False
    with pytest.raises(KeyboardInterrupt), hold_interrupts():
        began.set()
        sent.wait()
        started = True
    assert started


@pytest.mark.parametrize(("number", "name"), [(signal.SIGABRT, "SIGABRT"), (35, "signal 35")])
def test_every_deadly_signal_is_named(number, name, tmp_path):
    assert str(explain_death(-number, tmp_path / "none")) == f"killed by {name}"


def test_only_the_end_of_a_long_output_is_read(tmp_path):
    output = tmp_path / "output"
    with output.open("wb") as file:
        file.seek(2**33)
        file.write(b"\nabout to end\n")
    assert str(explain_death(3, output)).endswith("; last output: about to end")


def test_a_message_with_all_values_of_a_tensor_is_cut():
    """A search in a line of 100,000 characters took minutes, so that the failure was a timeout."""
    message = explain(RuntimeError(f"values: {'0.25, ' * 100_000}")).message
    assert message.startswith("RuntimeError: values: 0.25")
    assert len(message) < 1100


@pytest.mark.parametrize("variant", [(), (Choice("int8"),)])
def test_trained_models_are_kept_only_for_variants_that_evaluate_them(variant: tuple[Choice, ...]) -> None:
    """Every trained model used to be kept until the run ended: a hundred trainings of a large LSTM are gigabytes."""
    with isolation(replace(gap(*variant), trial=Trial(Choice("identity"), 0, 0.01))) as executor:
        assert list(executor.run([])) == []
        assert (executor.processes.scratch / TRAINED).is_dir() is bool(variant)
