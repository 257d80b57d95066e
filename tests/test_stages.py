"""Test stages and kinds of memory: their order, times on an invented clock, and the peak in closed form."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convbench.core.record import STAGES, Case, Choice, Clip, Finding, Parts, Protocol, Reading, Recurrent, Whole
from convbench.measure.live import module as live
from convbench.measure.memory import allocations
from convbench.measure.memory.allocations import Life
from convbench.measure.running_clock import Moment, RunningClock
from convbench.measure.stages import compiled, stopwatch
from convbench.measure.stages.hooks import call, listen
from convbench.measure.stages.spans import Spans, compiled_marks
from convbench.measure.stages.stopwatch import LEAST, SHORT, split_by_hooks
from convbench.measure.timing import Sample
from convbench.models import subject
from convbench.models.inputs import Inputs
from convbench.plugins.probes import stages

SMALL = Clip(1, 2, 3, 8, 8)


def parts(reducer: str = "gap", size: int | None = None, head: int | None = None, **more) -> Case:
    return Case(Parts(Choice("conv"), Choice(reducer), size, head=head), **{"clip": SMALL, **more})


class Heard:
    """A listener that records its events."""

    def __init__(self):
        self.said = []

    def enters(self, stage):
        self.said.append(f"+{stage}")

    def leaves(self, stage, outputs):
        assert outputs
        self.said.append(f"-{stage}")

    def reverses(self, stage):
        self.said.append(f"<{stage}")

    def phase(self, name):
        self.said.append(name)
        return torch.autograd.set_grad_enabled(torch.is_grad_enabled())


def heard(case: Case) -> list[str]:
    case_subject, listener = subject.assemble(case, seed=0), Heard()
    with listen(case_subject, listener):
        call(case_subject, listener.phase)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in case_subject.model.modules())
    marks = list(listener.said)
    case_subject.run()
    assert listener.said == marks
    return marks


FORWARD = [f"{sign}{stage}" for stage in STAGES for sign in "+-"]


def test_inference_goes_through_the_stages_in_order():
    assert heard(parts()) == ["forward", *FORWARD]
    assert heard(parts(scenario="streaming")) == ["forward", *FORWARD]


@pytest.mark.parametrize("reducer", ["gap", "flatten", "fc"])
def test_training_goes_back_through_the_stages_in_reverse(reducer):
    marks = heard(parts(reducer, 8, head=3, scenario="train"))
    back = [word for word in marks if word.startswith("<") and word != "<other"]
    assert marks[: len(FORWARD) + 2] == ["optimizer", "forward", *FORWARD]
    assert back == ["<head", "<lstm", "<reducer", "<backbone"]
    assert marks[-1] == "optimizer"


def test_an_identity_head_has_no_backward_pass():
    back = [word for word in heard(parts(scenario="train")) if word.startswith("<") and word != "<other"]
    assert back == ["<lstm", "<reducer", "<backbone"]


def test_a_users_model_reports_the_stages_it_names():
    model = Whole(Choice("wild:Article"), stages=(("backbone", "conv1"), ("lstm", "lstm")))
    assert heard(Case(model, SMALL)) == ["forward", "+backbone", "-backbone", "+lstm", "-lstm"]


def test_each_moment_of_a_call_belongs_to_one_stage(monkeypatch):
    """The invented clock advances by one second a mark, so a stage's time is the number of marks in it."""
    ticks = itertools.count(0, 1_000_000_000)
    monkeypatch.setattr(RunningClock, "moment", lambda _: Moment(next(ticks), 0, 0))
    split = split_by_hooks(subject.assemble(parts(), seed=0))
    assert split == {"backbone": 1, "reducer": 1, "lstm": 1, "head": 1, "other": 2}


def test_time_between_a_users_stages_is_other(monkeypatch):
    ticks = itertools.count(0, 1_000_000_000)
    monkeypatch.setattr(RunningClock, "moment", lambda _: Moment(next(ticks), 0, 0))
    model = Whole(Choice("wild:Article"), stages=(("backbone", "conv1"), ("lstm", "lstm")))
    split = split_by_hooks(subject.assemble(Case(model, SMALL), seed=0))
    assert split == {"backbone": 1, "lstm": 1, "other": 3}


def test_time_of_other_processes_belongs_to_no_stage(monkeypatch):
    """Each mark comes a second after the previous mark; another process has the core for half of it."""
    moments = (Moment(tick * 1_000_000_000, tick * 500_000_000, 0) for tick in itertools.count())
    monkeypatch.setattr(RunningClock, "moment", lambda _: next(moments))
    split = split_by_hooks(subject.assemble(parts(), seed=0))
    assert split == {"backbone": 0.5, "reducer": 0.5, "lstm": 0.5, "head": 0.5, "other": 1}


@pytest.mark.parametrize(("seconds", "calls"), [(SHORT / 2, 2), (SHORT, 1)])
def test_a_call_is_short_by_the_clock_that_stops_for_other_processes(seconds, calls, monkeypatch):
    """On a busy machine short calls seemed long by the wall, and their stages kept the cost of cold hooks."""
    made = list[str]()
    monkeypatch.setattr(stopwatch, "call", lambda *_: made.append("call"))
    monkeypatch.setattr(RunningClock, "timed", lambda _, run: (run(), seconds)[1])
    monkeypatch.setattr(RunningClock, "moment", lambda _: Moment(0, 0, 0))
    monkeypatch.setattr("time.perf_counter", itertools.count(step=1).__next__)
    split_by_hooks(subject.assemble(parts(), seed=0))
    assert len(made) == calls


def stage_results(monkeypatch, split, plain):
    class Clock:
        def time(self, _run):
            return Sample(plain)

    monkeypatch.setattr(stages, "clock_for", lambda *_: Clock())
    monkeypatch.setattr(stages, "split_by_hooks", lambda _: split)
    case_subject = subject.assemble(parts(), seed=0)
    return list(stages.stages(case_subject, Protocol(max_time=0.01)))


def test_stages_that_add_up_cause_no_finding(monkeypatch):
    results = stage_results(
        monkeypatch, {"backbone": 0.5, "reducer": 0.1, "lstm": 0.36, "head": 0.0, "other": 0.04}, 1.0
    )
    assert [reading.metric.name for reading in results] == [f"latency_s_{stage}" for stage in (*STAGES, "other")]
    assert set(results[0].samples) == {0.5}
    assert len(results[0].samples) >= LEAST


@pytest.mark.parametrize("lstm", [0.0, 0.6])
def test_stages_that_do_not_add_up_cause_a_warning(monkeypatch, lstm):
    (finding,) = (
        result
        for result in stage_results(monkeypatch, {"backbone": 0.5, "reducer": 0.0, "lstm": lstm}, 1.0)
        if isinstance(result, Finding)
    )
    assert finding.code == "stages_do_not_add_up"
    assert finding.level == "warning"
    assert finding.data == {"stages": 0.5 + lstm, "whole": 1.0, "withheld": lstm == 0.0}


@pytest.mark.parametrize(("lstm", "is_withheld"), [(0.9, False), (1.1, True), (0.2, False), (0.1, True)])
def test_stages_distorted_by_timing_are_withheld(monkeypatch, lstm, is_withheld):
    """A compiled call of 11 ms took 59 ms under the profiler, and was drawn with these shares."""
    results = stage_results(monkeypatch, {"backbone": 0.5, "lstm": lstm}, 1.0)
    assert [isinstance(result, Finding) for result in results].count(True) == 1
    assert any(isinstance(result, Reading) for result in results) is not is_withheld


def test_a_training_step_splits_into_all_stages_and_optimizer():
    case_subject = subject.assemble(parts("fc", 64, clip=Clip(1, 4, 3, 32, 32), scenario="train"), seed=0)
    case_subject.run()
    split = split_by_hooks(case_subject)
    assert split.keys() == {*STAGES, "optimizer", "other"}
    assert all(seconds >= 0 for seconds in split.values())


MARKS = [
    ("convbench::forward", 0, 10),
    ("convbench::backbone", 1, 4),
    ("convbench::lstm", 5, 8),
    ("convbench::backward", 10, 30),
    ("convbench::backward of lstm", 12, 12),
    ("convbench::backward of other", 15, 15),
    ("convbench::backward of backbone", 16, 16),
    ("convbench::optimizer", 30, 40),
]


@pytest.mark.parametrize(
    ("moment", "stage", "phase"),
    [
        (0.5, "other", "forward"), (1, "backbone", "forward"), (4, "other", "forward"), (7, "lstm", "forward"),
        (11, "other", "backward"), (12, "lstm", "backward"), (15.5, "other", "backward"), (29, "backbone", "backward"),
        (35, "other", "optimizer"), (41, "other", "other"),
    ],
)  # fmt: skip
def test_a_moment_lies_in_a_stage_and_a_phase(moment, stage, phase):
    spans = Spans(MARKS)
    assert (spans.stage(moment), spans.phase(moment)) == (stage, phase)


def test_a_backward_range_ends_with_the_next_or_the_phase():
    assert Spans(MARKS).backward() == [("lstm", 12, 15), ("backbone", 16, 30)]


def test_a_compiled_call_is_split_into_graphs_lstm_and_other():
    events = [
        ("convbench::forward", 0, 100),
        ("Torch-Compiled Region: 0/0", 5, 80),
        ("## Call CompiledFxGraph fabc ##", 10, 50),
        ("aten::convolution", 12, 40),
        ("aten::lstm", 60, 90),
        ("aten::mkldnn_rnn_layer", 65, 85),
    ]
    spans = Spans([*events[:1], *compiled_marks(events)])
    assert spans.durations() == {"graphs": 40, "lstm": 30, "other": 30}


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 50), st.integers(1, 50), st.sampled_from("ab")), max_size=30)
)
def test_the_peak_is_the_largest_sum_of_live_bytes(raw):
    lives = [Life(size, (kind, "lstm"), begin, begin + length) for size, begin, length, kind in raw]
    timeline = allocations.timeline([*lives, Life(7, ("weights", "head"))])
    alive = [7 + sum(life.bytes for life in lives if life.begin <= t < life.end) for t in range(101)]
    assert timeline.peak == max(alive)
    assert sum(timeline.at_peak().values()) == timeline.peak
    assert timeline.points[-1][1] == 7


def kinds_and_stages(case: Case) -> tuple[Counter, Counter, int]:
    case_subject = subject.assemble(case, seed=0)
    case_subject.run()
    timeline = allocations.timeline_of(case_subject)
    kinds, by_stage = Counter(), Counter()
    for (kind, stage), size in timeline.at_peak().items():
        kinds[kind] += size
        by_stage[stage] += size
    assert sum(kinds.values()) == sum(by_stage.values()) == timeline.peak
    return kinds, by_stage, timeline.peak


def test_memory_of_inference_by_kind_and_stage():
    kinds, by_stage, peak = kinds_and_stages(parts(clip=Clip()))
    weights, clip, feature_map = 83_840 * 4, 16 * 3 * 64 * 64 * 4, 16 * 131_072 * 4
    assert kinds == {"weights": weights, "inputs": clip, "activations": feature_map, "temporaries": feature_map}
    assert by_stage["backbone"] == 2 * feature_map + 896 * 4
    assert by_stage["other"] == clip
    assert peak == weights + clip + 2 * feature_map


def test_memory_of_an_lstm_is_its_weights_and_its_workspace():
    kinds, by_stage, peak = kinds_and_stages(Case(Parts(Choice("conv"), Choice("flatten")), Clip(1, 2, 3, 32, 32)))
    rnn = 4 * (32 * 1024 * 512 + 128 * 512 + 2 * 512)
    assert kinds["workspace"] >= rnn - 4 * 2 * 512
    assert kinds["activations"] == 4 * (2 * 32 * 1024 + 2 * 128 + 2 * 128), "the map, the outputs and both states"
    assert by_stage["lstm"] > 0.9 * peak


def test_memory_of_training_by_kind():
    kinds, _, _ = kinds_and_stages(parts("fc", 64, scenario="train"))
    parameters = 896 + (2048 + 1) * 64 + 512 * (64 + 128) + 2 * 512
    assert kinds["weights"] == kinds["gradients"] == 4 * parameters
    assert kinds["optimizer"] == 2 * 4 * parameters + 8 * 4
    assert kinds["temporaries"] >= 2 * 4 * 2048 * 64


def test_gradients_of_the_last_step_are_not_counted_twice():
    first = kinds_and_stages(parts("fc", 64, scenario="train"))
    case_subject = subject.assemble(parts("fc", 64, scenario="train"), seed=0)
    for _ in range(4):
        case_subject.run()
    assert allocations.timeline_of(case_subject).peak == first[2]


def test_a_gru_run_step_by_step_has_a_workspace():
    case = Case(Parts(Choice("conv"), Choice("gap"), rnn=Recurrent("gru", 256)), Clip(1, 8, 3, 4, 4))
    kinds, _, _ = kinds_and_stages(case)
    assert kinds["workspace"] > 0
    assert kinds["activations"] == 4 * (8 * 32 + 8 * 256 + 256), "the vectors, the outputs and the state"


class Event:
    """An event of the profiler: on the host with the kernels that it launched, or on the device."""

    def __init__(self, name, begin, end, kernels=(), device="CPU"):
        self.name, self.device_type = name, getattr(torch.autograd.DeviceType, device)
        self.is_user_annotation = name.startswith(("convbench::", "## "))
        self.time_range = torch.autograd.profiler_util.Interval(begin, end)
        self.kernels = [torch.autograd.profiler_util.Kernel(kernel, 0, duration) for kernel, duration in kernels]


def test_kernels_of_a_compiled_call_belong_where_they_were_launched():
    """In microseconds: 30 of the LSTM, 5 of the optimizer, 40 + 8 of graphs, and marks' shadows of 99 and 50.

    The compiler names its launch like the kernel. A replayed CUDA graph belongs to the region, which begins before the
    graph; 2 more were launched by no event.
    """
    forward, optimizer, graph = "convbench::forward", "convbench::optimizer", "## Call CompiledFxGraph f3 ##"
    events = [
        Event(forward, 0, 100, [(forward, 99)]),
        Event("Torch-Compiled Region: 0/0", 5, 40, [("replayed", 8)]),
        Event(graph, 10, 40, [(graph, 50)]),
        Event("triton_conv", 20, 30, [("triton_conv", 40)]),
        Event("aten::_cudnn_rnn", 50, 60, [("gates", 20), ("cells", 10)]),
        Event(optimizer, 110, 150),
        Event("aten::_foreach_add_", 120, 130, [("add", 5)]),
        *(Event(name, 0, took, device="CUDA") for name, took in (
            ("gates", 20), ("cells", 10), ("add", 5), ("triton_conv", 40), ("replayed", 8), ("alone", 2),
            (forward, 99), (graph, 50),
        )),
    ]  # fmt: skip
    split = {stage: round(seconds * 1e6, 6) for stage, seconds in compiled._kernel_split(events).items() if seconds}
    assert split == {"lstm": 30, "optimizer": 5, "graphs": 50}


class LearnedState(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 4, batch_first=True)
        self.first = torch.nn.Parameter(torch.zeros(1, 1, 4))

    def forward(self, clip):
        return self.lstm(clip.mean((3, 4)), (self.first, self.first))[0]


def test_a_learned_first_state_is_silent_without_a_listener():
    assert "<lstm" in heard(Case(Whole(Choice(f"{__name__}:LearnedState")), SMALL, scenario="train"))


def test_a_second_branch_of_a_model_is_heard_too():
    class Either(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.LSTM(2, 2), torch.nn.GRU(2, 2)

        def forward(self, rows):
            return (self.first if rows.sum() > 0 else self.second)(rows)

    model = Either()
    for rows in (torch.ones(1, 1, 2), torch.zeros(1, 1, 2)):
        case_subject, listener = live.subject(model, Inputs((rows,))), Heard()
        with listen(case_subject, listener):
            call(case_subject, listener.phase)
        assert listener.said == ["forward", "+lstm", "-lstm"]


@dataclass
class OwnCall:
    """A call that a user's scenario may return: it is compared by its content, so it has no hash."""

    of: subject.Subject

    def __call__(self):
        return self.of.without_gradients(*self.of.inputs.args)


def own_call(of):
    return OwnCall(of)


def test_the_call_of_a_users_scenario_needs_no_hash():
    case_subject, listener = subject.assemble(parts(scenario=f"{__name__}:own_call"), seed=0), Heard()
    for _ in range(2):
        with listen(case_subject, listener):
            call(case_subject, listener.phase)
    assert listener.said == 2 * ["forward", *FORWARD]
    assert {id(case_subject.model.lstm), id(case_subject.model.head)} < {
        module for module, _ in case_subject.stage_entries
    }
