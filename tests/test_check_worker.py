"""Test the real worker, with torch: its answers about a case, and pairs in which one side does more work."""

from __future__ import annotations

import errno
import importlib.util
import itertools
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from convbench.check import link, outcome, outputs, pairs
from convbench.check.link import Link, SideWorker
from convbench.check.pairs import Arm, CheckedCase, FailedCase, PairRequest
from convbench.check.programs import serving, worker
from convbench.check.settings import Settings
from convbench.check.stock import Stock
from convbench.check.trees import sides
from convbench.check.trees.sides import Side
from convbench.core.errors import CaseFailed
from convbench.measure import running_clock
from convbench.measure import side as side_of_head
from convbench.measure.machine import malloc
from convbench.models.training_step import StepResult

SUITE = """
matrix: {reducer: [gap, {name: avg-k, k: [2, 4]}], clip: 1x2x3x16x16, rnn: lstm8}
protocol: {seed: 3, timeout: 50}
"""
QUICK = Settings(slice_s=0.002, case_s=0.5, timeout=60.0)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("side")
    (folder / "tiny.yaml").write_text(SUITE)
    return folder


@pytest.fixture(scope="module")
def side(here):
    return Side("here", here, here, (Path(__file__).parent,))


@pytest.fixture(scope="module")
def real(side, here):
    with SideWorker(side, QUICK, here) as real_worker:
        real_worker.greet()
        real_worker.await_greeting()
        yield real_worker


@pytest.fixture(scope="module")
def planned(real):
    plan = real.ask("plan", suite="tiny.yaml", overrides=[], device="cpu", only=[], skip=[])
    assert (plan["name"], plan["protocol"]["seed"], plan["protocol"]["timeout"]) == ("tiny", 3, 50)
    return [CheckedCase(entry["id"], entry["case"], 3) for entry in plan["cases"]]


def test_without_a_gpu_the_worker_forks_on_device_auto(side, here):
    with SideWorker(side, replace(QUICK, device="auto"), here) as started:
        started.greet()
        started.await_greeting()
        assert started.forks is not torch.cuda.is_available()


def test_a_plan_has_every_case_with_its_resolved_id(planned):
    assert [case.id.split("/")[1:3] for case in planned] == [["gap", "32"], ["avg-k(k=2)", "128"], ["avg-k", "512"]]


def test_inspection_returns_exact_counts_and_writes_the_output(real, planned, here):
    answer = real.ask("inspect", **planned[0].arguments, name=planned[0].id, outputs=str(here / "out.npz"))
    assert answer["facts"]["params"] == 28 * 32 + 4 * 8 * (32 + 8 + 2)
    assert answer["facts"]["dtype"] == "torch.float32"
    assert answer["facts"]["not counted"] == "nothing"
    with np.load(here / "out.npz") as stored:
        assert stored[stored.files[0]].shape == (1, 2, 8)


@dataclass
class Encoded:
    """An output as many models return it: neither a tuple nor a dictionary, and with more than 32-bit floats."""

    spectrum: torch.Tensor
    counts: dict[str, torch.Tensor]
    scale: float
    name: str = "encoded"


def test_a_worker_is_greeted_once():
    """A second answer to a greeting would be taken for that of the next command."""
    idle, cases = SideWorker.__new__(SideWorker), []
    idle.settings, idle._hello_sent = SimpleNamespace(threads=1, device="cpu"), False
    idle.send = lambda do, **arguments: cases.append((do, arguments["case"]))
    idle.greet({"id": "gap"})
    idle.greet()
    assert cases == [("hello", {"id": "gap"})]


def test_an_idle_workers_import_is_confined_until_something_waits_for_it(monkeypatch):
    places = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: places.append((pid, set(cores))))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5})
    idle = SideWorker.__new__(SideWorker)
    idle.process = SimpleNamespace(pid=7)
    idle.hurry()
    idle.confine([5])
    idle.hurry()
    idle.hurry()
    assert places == [(7, {5}), (7, {0, 1, 5})]


def test_gradients_of_a_training_step_are_compared_by_norm(tmp_path):
    step = StepResult(torch.tensor(0.5), {"out.weight": torch.ones(2)})
    assert worker._write_outputs(step, str(tmp_path / "out.npz")) is True


def test_every_number_of_an_output_is_written_exactly(tmp_path):
    """Dataclasses used not to be compared, complex numbers only by their real part, and integers were rounded."""
    output = Encoded(torch.tensor([1 + 2j]).conj(), {"a": torch.tensor([2**24 + 1])}, 0.1)
    assert worker._write_outputs([output, torch.eye(2).to_sparse()], str(tmp_path / "out.npz")) is False
    with np.load(tmp_path / "out.npz") as stored:
        written = {name: stored[name].tolist() for name in stored.files}
    assert written == {
        "0 [0].spectrum": [1 - 2j],
        "1 [0].counts['a']": [2**24 + 1],
        "2 [0].scale": 0.1,
        "3 [1]": [[1, 0], [0, 1]],
    }


@pytest.mark.parametrize(
    ("number", "kind", "stored"),
    [
        (np.array([0.5, 2.0], np.float32), "f8", [0.5, 2.0]),
        (np.float32(0.5), "f8", 0.5),
        (np.array([[7]], np.uint8), "u1", [[7]]),
        (np.int64(2**53 + 1), "i8", 2**53 + 1),
        (np.array([1j], np.complex64), "c16", [1j]),
        (torch.tensor([2**62 + 1]), "i8", [2**62 + 1]),
        (torch.tensor([True]), "b1", [True]),
        (torch.tensor([0.5], dtype=torch.bfloat16), "f8", [0.5]),
        (1e39, "f8", 1e39),
        (0.1 + 0.1j, "c16", 0.1 + 0.1j),
        (True, "b1", True),
        (2**64 - 1, "u8", 2**64 - 1),
        (-(2**65), "u1", list(b"-0x20000000000000000")),
    ],
    ids=str,
)
def test_numpy_and_python_numbers_are_written_without_loss(tmp_path, number, kind, stored):
    """Arrays used not to be compared at all, and Python's numbers were rounded to 32 bits or ended the case."""
    worker._write_outputs([number, np.array(["cat"]), np.str_("dog")], str(tmp_path / "out.npz"))
    with np.load(tmp_path / "out.npz") as file:
        (array,) = file.values()
    assert (array.dtype, array.tolist()) == (np.dtype(kind), stored)


def test_outputs_with_the_same_names_are_compared_by_name(tmp_path):
    """An output built in another order used to count as different, and an output with two names swapped as equal."""
    base, head = tmp_path / "base.npz", tmp_path / "head.npz"
    worker._write_outputs({"aux": torch.zeros(2), "logits": torch.ones(2)}, str(base))
    for output, words in (
        ({"logits": torch.ones(2), "aux": torch.zeros(2)}, ""),
        ({"logits": torch.zeros(2), "aux": torch.ones(2)}, "['aux'] of the output differs by up to 1"),
        ({"aux": torch.zeros(2), "scores": torch.ones(2)}, ""),
        ({"aux": torch.zeros(2)}, "base returns tensors of 2, 2, head of 2"),
    ):
        worker._write_outputs(output, str(head))
        assert outputs.difference(base, head, 1e-4, by_norm=False) == words


def test_a_case_that_resolves_to_another_id_is_refused(real, planned):
    with pytest.raises(CaseFailed, match="it is older than the suite's format"):
        real.ask("resolve", case=planned[0].case, name=planned[0].id + "+new")


def test_a_mistake_in_a_case_is_named_in_the_message(real, planned):
    broken = json.loads(json.dumps(planned[0].case))
    broken["architecture"]["reducer"]["name"] = "gpa"
    with pytest.raises(CaseFailed, match="unknown reducer 'gpa'; did you mean 'gap'"):
        real.ask("resolve", case=broken, name="x")


def test_the_modules_request_names_the_files_of_code(real):
    files = real.ask("modules")["files"]
    assert Path(files["convbench.measure.attempts"]).parent == Path(worker.__file__).parents[2] / "measure"
    assert worker.__file__ not in files.values()


FLAT = {
    "__init__": "__version__ = '0.0.9'",
    "record": """
from dataclasses import dataclass

@dataclass(frozen=True)
class Case:
    name: str
    variant: tuple = ()
    id = property(lambda case: f"{case.name}/resolved")

@dataclass(frozen=True)
class Protocol:
    seed: int = 0
    timeout: float = 60.0
""",
    "environment": "describe = lambda device: {'device': device}\nfingerprint = lambda facts: 'f'",
    "harness": """
from types import SimpleNamespace as Of

def measure(case, protocol, metrics):
    return Of(readings=[Of(metric=Of(name=name), samples=(7.0,)) for name in metrics])

def explain(error):
    return Of(kind="error", message=f"flat: {error}")
""",
    "subject": """
from dataclasses import dataclass
from typing import Any
import torch

@dataclass(frozen=True)
class Subject:
    forward: Any
    device: str = "cpu"
    dtype: Any = torch.float32

    def run(self):
        return self.forward()

def assemble(case, seed, device="cpu"):
    return Subject(lambda: torch.full((2,), float(seed)))

def transform(subject):
    return subject
""",
    "opening": """
import torch
from convbench import subject
TOLERANCE = {torch.float32: 0.125}
open_case = lambda case, seed: (subject.assemble(case, seed), [])
""",
    "preflight": "resolve = lambda case: case if case.name != 'bad' else 1 / 0",
    "registry": "probes = {}",
    "variants": "process_environment = lambda case: {'NEEDS': case.name}",
    "nvml": "",
    "suite": "from types import SimpleNamespace as Of\nfrom convbench.record import Protocol\n"
    "load = lambda suite, overrides: Of(name=suite, protocol=Protocol())",
    "sweep": "from types import SimpleNamespace as Of\nfrom convbench.record import Case\n"
    "Selection = lambda only, skip: only\n"
    "plan = lambda loaded, facts, selection: Of(cases=[Case(name) for name in selection])",
}


def test_a_side_with_the_old_flat_layout_can_be_asked(tmp_path):
    """An invented package has the layout from before the rooms, and answers every question of a check."""
    (tmp_path / "convbench").mkdir()
    for name, text in FLAT.items():
        (tmp_path / "convbench" / f"{name}.py").write_text(text)
    flat = sides.Side("flat", tmp_path, tmp_path, (tmp_path,))
    with SideWorker(flat, Settings(), tmp_path) as flat_worker:
        flat_worker.greet()
        assert flat_worker.await_greeting()["convbench"] == "0.0.9"
        assert flat_worker.ask("describe", device="cpu") == {"facts": {"device": "cpu"}, "fingerprint": "f"}
        plan = flat_worker.ask("plan", suite="mine", overrides=[], device="cpu", only=["gap"], skip=[])
        ((case,), seed) = plan["cases"], plan["protocol"]["seed"]
        assert (plan["name"], case["id"], seed) == ("mine", "gap/resolved", 0)
        assert flat_worker.ask("resolve", case=case["case"], name=case["id"]) == {"variables": {"NEEDS": "gap"}}
        with pytest.raises(CaseFailed, match="flat: division by zero"):
            flat_worker.ask("resolve", case={"name": "bad"}, name="bad/resolved")
        answer = flat_worker.ask(
            "inspect", case=case["case"], name=case["id"], seed=3, outputs=str(tmp_path / "out.npz")
        )
        assert answer["facts"] == {"params": 7.0, "macs": 7.0, "dtype": "torch.float32"}
        assert (answer["tolerance"], np.load(tmp_path / "out.npz")["0 "].tolist()) == (0.125, [3.0, 3.0])
        flat_worker.ask("prepare", case=case["case"], seed=3)
        assert flat_worker.ask("slice", seconds=0.001, leading=True)["best"] > 0
        assert not [file for file in flat_worker.ask("modules")["files"].values() if file in worker.PROGRAMS]


def test_the_facade_and_the_workers_share_a_protocol_version():
    assert side_of_head.PROTOCOL == link.PROTOCOL


def test_prints_of_a_model_stay_out_of_the_channel(real, here):
    described = {
        "architecture": {"model": {"name": "wild:Ending", "options": [["how", "raise"]]}, "inputs": None, "stages": []},
        "clip": {"batch": 1, "frames": 2, "channels": 3, "height": 8, "width": 8},
        "variant": [], "scenario": "inference", "device": "cpu",
    }  # fmt: skip
    with pytest.raises(CaseFailed, match="the user's own mistake"):
        real.ask("prepare", case=described, seed=0)


def test_injected_work_has_the_requested_size_and_is_detected(side, real, planned, here):
    """With twice the work the ratio is near two, far beyond what load on this machine does to a pair on one core."""
    case = planned[2]
    injected = real.ask("calibrate", **case.arguments, slowdown=1.0)["injected"]
    real.ask("release")
    arms = (Arm("base", side), Arm("head", side, {case.id: tuple(injected)}))
    visits = [PairRequest(planned_case, arms) for planned_case in (case, planned[0])]
    measured = {planned_case.id: timing for (planned_case, _), timing in pairs.measure(visits, QUICK, here)}
    assert not any(isinstance(timing, FailedCase) for timing in measured.values()), measured
    assert 1.5 < math.exp(measured[case.id].log_ratio()) < 3
    assert 0.75 < math.exp(measured[planned[0].id].log_ratio()) < 1.33
    assert len(measured[case.id].rounds) % 6 == 0


@pytest.mark.parametrize(
    ("waited", "others", "around", "seconds"),
    [
        (0, 0, 2_000, 9e-3),
        (3_000_000, 0, 2_000, 6.002e-3),
        (3_000_000, 1_000_000, 2_000, 7.002e-3),
        (3_000_000, 4_000_000, 2_000, 9e-3),
        (3_000_000, 0, 3_000_000, 9e-3),
        (0, -7_000_000, 2_000, 9e-3),
    ],
    ids=["nothing", "another process", "partly its own", "its own threads", "before or after the call", "ulimit -t"],
)
def test_only_waits_caused_by_other_processes_are_subtracted(monkeypatch, waited, others, around, seconds):
    """The call takes 9 ms of wall-clock time.

    Under ``ulimit -t`` the time of the whole process lags behind that of its thread. Calls of 60 us used to take 5 us.
    """
    clock = running_clock.RunningClock()
    begin, end = running_clock.Moment(0, 50, 70), running_clock.Moment(9_000_000, 50 + waited, 70 + others)
    assert around > 2_000 or begin.seconds_to(end) == pytest.approx(seconds, abs=3e-6)
    monkeypatch.setattr(clock, "_waiting_ns", iter([50, 50 + waited]).__next__)
    monkeypatch.setattr(clock, "_other_threads_ns", iter([70, 70 + others]).__next__)
    ticks = iter([0, around // 2, around // 2 + 9_000_000, around + 9_000_000])
    monkeypatch.setattr(running_clock.time, "perf_counter_ns", ticks.__next__)
    assert clock.timed(lambda: None) == pytest.approx(seconds)


def test_without_linuxs_statistics_nothing_is_subtracted(monkeypatch):
    def lacks(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(running_clock.os, "open", lacks)
    assert running_clock.RunningClock()._waiting_ns() == 0


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="the kernel does not tell")
def test_a_busy_neighbour_adds_little_to_a_calls_time():
    def spin():
        start = time.thread_time_ns()
        while time.thread_time_ns() - start < 100_000_000:
            pass

    allowed = os.sched_getaffinity(0)
    core = min(allowed)
    busy = f"import os; os.sched_setaffinity(0, {{{core}}}); print(flush=True)\nwhile True: pass"
    hog = subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE)
    try:
        hog.stdout.readline()
        os.sched_setaffinity(0, {core})
        start = time.perf_counter()
        seconds = running_clock.RunningClock().timed(spin)
        wall = time.perf_counter() - start
    finally:
        os.sched_setaffinity(0, allowed)
        hog.kill()
        hog.communicate()
    assert seconds - 0.1 < (wall - 0.1) / 2


@pytest.mark.parametrize(("call", "device", "calls"), [(0.001, "cpu", 7), (0.02, "cpu", 1), (0.02, "cuda", 2)])
def test_a_call_that_fills_a_slice_is_timed_alone(monkeypatch, call, device, calls):
    """An unrecorded call precedes shorter calls and every call on a GPU."""
    server, made = worker.Server(), []
    server.device, server.side = device, SimpleNamespace(throttling=lambda _: "none")
    monkeypatch.setattr(server, "_time_both", lambda: (made.append(call) or call, call))
    leading = pairs._is_leading(call, device, Settings())
    timed = server.slice(Settings().slice_s, leading)
    assert (timed["best"], timed["state"]) == (call, None if device == "cpu" else "none")
    assert len(made) == calls


def test_a_calls_time_on_a_gpu_is_told_in_seconds(monkeypatch):
    """The driver tells milliseconds between two events."""
    event = SimpleNamespace(record=lambda: None, elapsed_time=lambda _: 20.0)
    monkeypatch.setattr(torch.cuda, "Event", lambda **_: event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter_ns=itertools.count(0, 25_000_000).__next__))
    assert worker._time_on_gpu(lambda: None, "cuda") == pytest.approx((0.025, 0.020))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("call", [0.001, 0.05, 0.1])
def test_a_pair_keeps_to_its_time_however_noisy(device, call):
    """Calls that are not recorded count as well."""
    made = []

    class Noisy:
        def ask(self, do, **words):
            if do == "slice":
                made.extend([call] * (math.ceil(words["seconds"] / call) + words["leading"]))
            return {"device": device, "seconds": call, "best": random.uniform(1, 2) * call, "state": None}

    arms = [Arm("base", None), Arm("head", None)]
    timing = pairs.time_case(arms, {arm.name: Noisy() for arm in arms}, CheckedCase("gap", {}, 0), Settings())
    assert len(timing.rounds) >= pairs.MIN_ROUNDS
    assert sum(made) <= Settings().case_s


class Clocked:
    """A worker whose calls take known seconds on host and device; its clocks change in the slices of ``throttled``."""

    def __init__(self, seconds: float, device: float | None = None, throttled: tuple[int, ...] = ()) -> None:
        self.seconds, self.device, self.throttled, self.asked = seconds, device, throttled, []

    def ask(self, do, **words):
        self.asked.append((do, words))
        number = len([name for name, _ in self.asked if name == "slice"])
        return {
            "device": "cpu" if self.device is None else "cuda", "seconds": self.seconds, "best": self.seconds,
            "state": f"slow {number}" if number in self.throttled else "none",
        } | ({"device": self.device} if do == "slice" else {})  # fmt: skip

    def words(self, do: str) -> list[dict]:
        return [words for name, words in self.asked if name == do]


def test_a_pairs_rounds_hold_each_arms_times_in_order():
    base, head = Clocked(0.001), Clocked(0.002)
    arms = (Arm("base", None), Arm("head", None, {"gap": (3, 64)}))
    timing = pairs.time_case(arms, {"base": base, "head": head}, CheckedCase("gap", {"x": 1}, 5), Settings())
    assert timing == outcome.Timing(((0.001, 0.002),) * pairs.MIN_ROUNDS)
    prepared = [worker.words("prepare") for worker in (base, head)]
    assert prepared == [[{"case": {"x": 1}, "seed": 5, "injected": injected}] for injected in (None, (3, 64))]
    assert [worker.words("warm") for worker in (base, head)] == [[{"calls": 25}]] * 2, "alike, by the slower arm"
    assert [worker.asked[-1] for worker in (base, head)] == [("release", {})] * 2


@pytest.mark.parametrize(("seconds", "calls"), [(1e-5, 100), (0.0249, 3), (0.005, 10)])
def test_a_case_is_warmed_up_for_a_twentieth_of_a_second(seconds, calls):
    worker = Clocked(seconds)
    pairs.time_case((Arm("base", None),) * 2, {"base": worker}, CheckedCase("gap", {}, 0), Settings())
    assert {words["calls"] for words in worker.words("warm")} == {calls}


def test_rounds_in_which_a_gpus_clocks_changed_do_not_count():
    arms, settings = (Arm("base", None), Arm("head", None)), Settings()
    workers = {"base": Clocked(0.001, 0.0005), "head": Clocked(0.002, 0.0015, throttled=(2, 5))}
    timing = pairs.time_case(arms, workers, CheckedCase("gap", {}, 0), settings)
    assert timing == outcome.Timing(((0.001, 0.002),) * 6, ((0.0005, 0.0015),) * 6)
    assert len(workers["head"].words("slice")) == 8
    workers["head"] = Clocked(0.002, 0.0015, throttled=tuple(range(6, 100)))
    with pytest.raises(CaseFailed, match="the device's clocks changed in all but 5 rounds"):
        pairs.time_case(arms, workers, CheckedCase("gap", {}, 0), settings)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.001, 24), (0.0999, 12), (0.15, 6), (9.0, 6)])
def test_the_rounds_fill_a_cases_time_in_sixes(seconds, rounds):
    assert pairs._rounds(seconds, Settings(case_s=1.2)) == rounds


def test_the_least_busy_cores_time_a_pair(monkeypatch):
    """A core whose load is not known is taken last. Differences below a tenth of a core are chance."""
    monkeypatch.setattr(pairs.os, "sched_getaffinity", lambda _: {0, 2, 3, 5})
    monkeypatch.setattr(pairs.psutil, "cpu_percent", lambda *_, **__: [50.0, 0.0, 3.0, 90.0])
    assert [pairs.quietest_cores(threads) for threads in (1, 2, 3, 9)] == [[2], [2, 0], [2, 0, 3], [2, 0, 3, 5]]
    monkeypatch.setattr(pairs.psutil, "cpu_percent", lambda *_, **__: [1.0, 0.0, 4.0, 2.0])
    assert {pairs.quietest_cores(1)[0] for _ in range(100)} == {0, 2, 3}


@pytest.mark.parametrize("arms", [["a", "b"], ["a", "b", "c"]])
def test_orders_are_balanced_wherever_a_case_may_stop(arms):
    orders = list(pairs._orders(arms, 24))
    for stop in (6, 12, 18, 24):
        assert {orders[:stop].count(order) for order in orders} == {stop // math.factorial(len(arms))}


def test_rounds_continue_only_while_they_scatter():
    precise = [(1.0, 1.03 + 0.001 * (-1) ** number) for number in range(24)]
    quiet = [(1.0, 1.03 + 0.02 * (-1) ** number) for number in range(24)]
    noisy = [(1.0, 1.03 + 0.15 * (-1) ** number) for number in range(24)]
    stops = [[n for n in range(1, 25) if pairs._is_resolved(rounds[:n])] for rounds in (precise, quiet, noisy)]
    assert stops == [[6, 12, 18, 24], [18, 24], []]


@pytest.mark.parametrize("ratio", [1.25, 1 / 1.25])
def test_a_clear_difference_needs_less_precision(ratio):
    """This holds whichever arm is slower, and in any order of the arms."""
    rounds = [(1.0, 1.02**sign, ratio * 1.02**sign) for sign in (1, -1) * 3]
    assert pairs._is_resolved([(base, head) for base, _, head in rounds])
    for order in itertools.permutations(range(3)):
        assert pairs._is_resolved([tuple(times[arm] for arm in order) for times in rounds])
    assert not pairs._is_resolved([(base, again) for base, again, _ in rounds])


def test_cases_that_change_their_process_run_separately():
    plain = [CheckedCase(name, {}, 0) for name in "abc"]
    loaded = [CheckedCase(name, {}, 0, (("LD_PRELOAD", "x"),)) for name in "de"]
    alone = [CheckedCase(name, {}, 0, is_alone=True) for name in "fg"]
    threads = [CheckedCase(name, {"threads": 2}, 0) for name in "hi"]
    grouped = pairs.groups([*plain, *loaded, *alone, *threads])
    assert ["".join(case.id for case in group) for group in grouped] == ["abc", "de", "f", "g", "hi"]


def test_a_case_is_timed_on_its_own_number_of_threads(monkeypatch, side, here):
    """Other cases' threads do not matter, and a process started for another number of threads is not reused."""
    started, cases = (
        [],
        [CheckedCase("a", {"threads": 2}, 0), CheckedCase("b", {"threads": None}, 0), CheckedCase("c", {}, 0)],
    )

    def told(_side, settings, *_):
        started.append(settings.threads)
        raise CaseFailed("error", "enough")

    monkeypatch.setattr(pairs, "SideWorker", told)
    arms = (Arm("base", side), Arm("head", side))
    list(pairs.measure([PairRequest(case, arms) for case in cases], Settings(threads=3), here))
    assert sorted(started) == [2, 3, 3]
    kept = Stock()
    kept.put(SimpleNamespace(side=side, settings=Settings(threads=1), hurry=lambda: None), ())
    assert kept.take(side, (), Settings(threads=2)) is None


def test_a_pair_is_pinned_to_one_core_per_thread():
    allowed = os.sched_getaffinity(0)
    assert len(pairs.quietest_cores(1)) == 1
    assert set(pairs.quietest_cores(len(allowed))) == allowed


def test_a_worker_killed_while_idle_is_still_closed(side, here):
    with SideWorker(side, QUICK, here, {"OMP_WAIT_POLICY": "ACTIVE", "TMPDIR": "/"}) as worker:
        while not (content := Path(f"/proc/{worker.process.pid}/environ").read_bytes()):
            pass  # it is empty at the very start of a program
        variables = content.split(b"\0")
        worker.process.kill()
        worker.process.wait()
        worker.send("modules")
    assert worker.socket.fileno() == -1
    assert os.fsencode(f"TMPDIR={worker.folder}") in variables, "models that it exported stayed in the user's folder"
    assert b"OMP_WAIT_POLICY=ACTIVE" in variables, "the case asked for it"
    assert not worker.folder.exists()


class Channel(link.Link):
    """A link whose process is the test; ``code`` is how it ended."""

    def __init__(self, folder: Path, code: int | None = None) -> None:
        self.settings, self.code = Settings(timeout=0.02), code
        self.process = self._open(folder)
        self.output.write_bytes(b"")

    def _code(self) -> int | None:
        return self.code


def test_the_answers_of_a_process_are_read_in_order_and_errors_keep_their_kind(tmp_path):
    with Channel(tmp_path) as channel:
        channel.process.sendall(b'{"a": 1}\n{"error": {"kind": "oom", "message": "too large"}}\n')
        assert channel.ask("pin", cores=[1]) == {"a": 1}
        assert json.loads(channel.process.recv(99)) == {"do": "pin", "cores": [1]}
        with pytest.raises(CaseFailed, match="too large") as error:
            channel.receive()
        assert error.value.kind == "oom"
        assert channel.folder.is_dir()
    assert not channel.folder.exists()


@pytest.mark.parametrize(("limit", "words"), [(None, r"0.02 s \(protocol.timeout\)"), (0.01, "0.01 s$")])
def test_a_limit_that_the_suite_sets_is_named(tmp_path, limit, words):
    with Channel(tmp_path) as channel, pytest.raises(CaseFailed, match=f"no answer after {words}") as error:
        channel.receive(limit)
    assert error.value.kind == "timeout"


@pytest.mark.parametrize(("code", "words"), [(None, "closed its channel but kept running"), (-11, "SIGSEGV")])
def test_a_closed_channel_is_a_crash_that_says_how_the_process_ended(tmp_path, code, words):
    with Channel(tmp_path, code) as channel:
        channel.process.close()
        with pytest.raises(CaseFailed, match=words) as error:
            channel.ask("modules")
        assert error.value.kind == "crash"


def test_a_child_that_a_model_forks_has_no_answer():
    """Its ``sys.exit`` was the answer of the worker: the case failed."""
    own_pid = os.getpid()

    def forks() -> dict[str, int]:
        child = os.fork()
        if not child:
            sys.exit(0)
        return {"code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}

    answer = serving._answer(Mock(forks=forks), {"do": "forks"})
    if os.getpid() != own_pid:
        os._exit(0)
    assert answer == {"code": 1}


@pytest.mark.parametrize("code", [None, 0])
def test_a_copy_is_killed_unless_its_end_is_known(tmp_path, monkeypatch, code):
    """Once it has been reaped, another process may have its number."""
    killed, reaped = [], []
    for name in ("kill", "killpg"):
        monkeypatch.setattr(link.os, name, lambda pid, number: killed.append((pid, number)))
    line, other_end = socket.socketpair()
    with line, other_end:
        original = Mock(line=line, settings=QUICK)
        original.ask = lambda do, **_: {"pid": 7} if do == "fork" else reaped.append(do) or {"code": code}
        monkeypatch.setattr(link.scratch, "end_processes", lambda _: None)
        with link.Copy(original, tmp_path) as copy:
            assert copy._code() == code
    assert killed == ([] if code == 0 else [(7, signal.SIGKILL)] * 2)
    assert reaped == ["reap"] * (1 if code == 0 else 2)


@pytest.mark.parametrize("is_elsewhere", [True, False])
def test_base_finds_its_own_build_before_an_editable_install_of_head(side, here, tmp_path, monkeypatch, is_elsewhere):
    """meson-python and scikit-build put a finder before the path: base could only be refused, even as a wheel."""

    class Finder:
        __module__ = "_mnet_editable_loader"

        @staticmethod
        def find_spec(name, *_):
            return importlib.util.spec_from_loader(name, None, origin="head") if name == "mnet" else None

    (tmp_path / "mnet.py").touch()
    own = replace(side, paths=(tmp_path,), is_elsewhere=is_elsewhere)
    for name, value in link._environment(own, Settings(), here).items():
        if name.startswith("CONVBENCH_PATH"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    worker.find_side()
    places = [sys.path.index(place) for place in (str(Path(os.__file__).parent), str(tmp_path))]
    packages = [number for number, place in enumerate(sys.path) if place.endswith("site-packages")]
    assert places == sorted(places), "behind the standard library"
    assert places[-1] < packages[0]
    assert importlib.util.find_spec("mnet").origin == (str(tmp_path / "mnet.py") if is_elsewhere else "head")


@pytest.mark.parametrize("how", ["path", "mapping"])
def test_base_does_not_find_a_package_that_only_head_has(side, here, tmp_path, monkeypatch, how):
    """A pull request that added a package to an editable install was refused: base imported head's."""
    (tmp_path / "head" / "newnet").mkdir(parents=True)
    (tmp_path / "head" / "newnet" / "__init__.py").touch()
    mapping = {"newnet": str(tmp_path / "head" / "newnet"), "other": "/elsewhere/other"} if how == "mapping" else {}
    finder = SimpleNamespace(__module__="__editable___newnet_finder")
    monkeypatch.setitem(sys.modules, finder.__module__, SimpleNamespace(MAPPING=mapping))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    monkeypatch.setattr(sys, "path", [*sys.path, *([str(tmp_path / "head")] if how == "path" else [])])
    head = sides.WorkingTree.at(tmp_path / "head", "smoke")
    for name, value in link._environment(head.apart(side), Settings(), here).items():
        if name.startswith("CONVBENCH_PATH"):
            monkeypatch.setenv(name, value)
    worker.find_side()
    assert str(tmp_path / "head") not in sys.path
    assert "newnet" not in mapping
    assert len(mapping) == (how == "mapping")
    assert importlib.util.find_spec("convbench") is not None


def test_a_slow_start_gets_the_suites_time_limit(side, here, monkeypatch):
    monkeypatch.setattr(link, "START_TIMEOUT", 1e-6)
    with SideWorker(side, QUICK, here) as worker:
        worker.greet()
        assert worker.await_greeting()["protocol"] == link.PROTOCOL


def test_workers_differ_only_in_deliberately_random_variables(side, here):
    from convbench.check.link import _environment

    first, other = (_environment(side, Settings(allocator="glibc-arena", threads=2), here) for _ in range(2))
    differ = {name for name in first if first[name] != other[name]}
    assert differ <= {"PYTHONHASHSEED", "CONVBENCH_PADDING"}
    base = _environment(replace(side, paths=(here / "base",)), Settings(), here)
    assert Path(base["TORCH_EXTENSIONS_DIR"]).parent == here  # or base would load the extension that head has built
    assert base["TORCH_EXTENSIONS_DIR"] != first["TORCH_EXTENSIONS_DIR"]
    assert "PYTHONHASHSEED" in differ
    threads = {first[f"{library}_NUM_THREADS"] for library in ("OMP", "MKL", "OPENBLAS")}
    assert (threads, first["OMP_WAIT_POLICY"], first["MALLOC_MMAP_MAX_"]) == ({"2"}, "PASSIVE", "0")


def test_workers_inherit_neither_the_users_allocator_nor_path(side, here, monkeypatch):
    """A side's paths hold what PYTHONPATH names: as it is, it would lead base into head's tree."""
    from convbench.check.link import _environment

    monkeypatch.setenv("PYTHONPATH", str(here))
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1")
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so")
    environment = _environment(side, Settings(), here)
    assert not {"MALLOC_TOP_PAD_", "MALLOC_ARENA_MAX", "LD_PRELOAD", "PYTHONPATH"} & set(environment)
    assert environment["CONVBENCH_PATH"] == os.pathsep.join(map(str, side.paths))
    assert environment["MALLOC_MMAP_THRESHOLD_"] == str(malloc.GLIBC["MALLOC_MMAP_THRESHOLD_"])
    assert "MALLOC_MMAP_THRESHOLD_" not in _environment(side, Settings(allocator="glibc-arena"), here)


def test_a_base_runs_with_its_own_interpreter(here, tmp_path):
    lent = sides.with_python(Side("here", here, here, ()), sys.executable, tmp_path)
    with SideWorker(lent, QUICK, tmp_path) as other:
        assert other.ask("hello", threads=1)["python"] == sys.version.split()[0]
        file = other.ask("modules")["files"]["convbench"]
    assert Path(file).is_relative_to(tmp_path / "lent")


def test_a_process_killed_while_it_answers_has_crashed(tmp_path):
    """The beginning of its answer was read as JSON: the check ended in a traceback."""

    class Killed(Link):
        settings = Settings()

        def _code(self):
            return -9

    killed = Killed()
    with killed._open(tmp_path) as other_end:
        killed.output.touch()
        other_end.sendall(b'{"facts": {"a"')
    with killed, pytest.raises(CaseFailed, match="SIGKILL"):
        killed.receive()


def test_a_full_disk_is_named_although_the_log_is_on_it_too(monkeypatch):
    """The copy that reported it died of its own report: a crash with exit code 70 and no result."""
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(sys, "stderr", Mock(write=Mock(side_effect=full)))
    failing_worker = Mock(inspect=Mock(side_effect=full), explain=str)
    assert serving._answer(failing_worker, {"do": "inspect"}) == {"error": "[Errno 28] No space left on device"}
