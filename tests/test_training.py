"""Test the training scenario: exact forward and backward MACs, gradients against eager, untrainable models."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from convbench.core.errors import CaseFailed, Impossible
from convbench.core.record import Case, Choice, Clip, Parts, Protocol, Recurrent, Whole
from convbench.core.registry import probes
from convbench.measure import attempts, harness
from convbench.measure.comparison import agreement, first_call
from convbench.measure.comparison.parity import TOLERANCE
from convbench.measure.counts import dispatched
from convbench.measure.counts.counted import macs_by_stage
from convbench.measure.preflight import preflight
from convbench.measure.stages import stopwatch
from convbench.measure.stages.stopwatch import LEAST
from convbench.models import subject
from convbench.plugins.variants.checkpoint import _checkpoint
from convbench.plugins.variants.int8 import _dynamic, _torchao

ARTICLE = {
    ("gap", None): 234_225_664,
    ("fc", 128): 1_849_556_992,
    ("hybrid", 64): 235_995_136,
    ("flatten", None): 6_675_103_744,
}
SMALL = Clip(2, 3, 3, 8, 8)
QUICK = Protocol(max_warmup=0.02, max_time=0.05, min_samples=6, target=0.5)


def train(reducer: str = "gap", size: int | None = None, *variant: Choice, clip: Clip = SMALL, **parts) -> Case:
    return Case(Parts(Choice("conv"), Choice(reducer), size, **parts), clip, variant, "train")


def whole(name: str) -> Case:
    return Case(Whole(Choice(f"{__name__}:{name}")), SMALL, scenario="train")


@pytest.mark.parametrize(("reducer", "size"), ARTICLE)
def test_forward_and_backward_flops_of_the_article_are_exact(reducer, size):
    macs = macs_by_stage(train(reducer, size, clip=Clip()))
    assert 2 * sum(macs.values()) == ARTICLE[reducer, size]
    assert macs["head"] == macs["other"] == 0
    assert macs["backbone"] == 2 * 16 * 64 * 64 * 32 * 27


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize(
    "rnn",
    [
        Recurrent(),
        Recurrent(hidden=20, layers=2),
        Recurrent(hidden=24, bidirectional=True),
        Recurrent("gru", 16),
        Recurrent(hidden=24, proj_size=8),
    ],
    ids=str,
)
def test_counts_of_all_frames_follow_from_two_frames(rnn, frames):
    case = train("fc", 24, clip=Clip(2, frames, 3, 8, 8), rnn=rnn, head=5)
    counted = dispatched.count(subject.assemble(case, seed=0, device="meta")).macs
    assert macs_by_stage(case) == counted
    assert counted["head"] == 3 * 2 * frames * 5 * (rnn.proj_size or rnn.hidden) * (2 if rnn.bidirectional else 1)


@pytest.mark.parametrize(("batch", "frames", "size", "hidden"), [(1, 16, 32, 128), (3, 5, 40, 24), (2, 1, 8, 8)])
def test_the_macs_of_a_trained_lstm_match_the_closed_form(batch, frames, size, hidden):
    case = train("fc", size, clip=Clip(batch, frames, 3, 8, 8), rnn=Recurrent(hidden=hidden))
    forward = frames * batch * 4 * hidden * (size + hidden)
    assert macs_by_stage(case)["lstm"] == 3 * forward - batch * 4 * hidden * hidden


def test_a_training_case_has_every_metric():
    record = harness.measure(train(clip=Clip(1, 4, 3, 16, 16)), QUICK)
    assert record.status == "ok"
    assert record.case.frames_per_call == 4
    assert not {"counts_disagree", "counted_once"} & {finding.code for finding in record.findings}
    for metric in ("latency_s", "forward_s", "backward_s", "optimizer_s", "latency_s_optimizer", "latency_s_lstm"):
        assert len(record.samples(metric)) >= 6
    assert record.samples("cpu_peak_tensor_bytes_gradients") == (83_840 * 4,)
    assert record.samples("cpu_peak_tensor_bytes_optimizer") == (2 * 83_840 * 4 + 6 * 4,)


def test_a_step_changes_every_parameter():
    case_subject = subject.assemble(train(), seed=0)
    before = {name: parameter.clone() for name, parameter in case_subject.model.named_parameters()}
    step = case_subject.run()
    assert step.loss > 0
    assert step.gradients.keys() == before.keys()
    assert case_subject.model.training
    for name, parameter in case_subject.model.named_parameters():
        assert not torch.equal(parameter, before[name])


def test_the_gradients_are_those_of_the_mean_square():
    case_subject = subject.assemble(train(), seed=0)
    twin = subject.assemble(train(), seed=0).model.train()
    loss = twin(*case_subject.inputs.args)[0].square().mean()
    loss.backward()
    step = case_subject.run()
    torch.testing.assert_close(step.loss, loss.detach())
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(step.gradients[name], parameter.grad)


VARIANTS = {
    "fused": (Choice("optimizer"),),
    "foreach": (Choice("optimizer", (("implementation", "foreach"),)),),
    "for-loop": (Choice("optimizer", (("implementation", "for-loop"),)),),
    "adamw": (Choice("optimizer", (("rule", "adamw"),)),),
    "sgd": (Choice("optimizer", (("rule", "sgd"), ("implementation", "default"))),),
    "checkpoint": (Choice("checkpoint"),),
    "channels_last": (Choice("channels_last"),),
    "autocast": (Choice("autocast"),),
    "float16 with a scaled loss": (Choice("autocast", (("dtype", "fp16"),)),),
    "two of them": (Choice("channels_last"), Choice("checkpoint"), Choice("optimizer")),
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_variant_trains_as_eager_does(variant):
    case_subject, readings = first_call.open_case(train("fc", 8, *variant), seed=0)
    assert [reading.metric.name for reading in readings] == ["cold_call_s"]
    assert case_subject.run().loss > 0


def test_implementations_of_adam_make_the_same_step():
    stepped = []
    for variant in ((), VARIANTS["fused"], VARIANTS["foreach"]):
        case_subject = subject.transform(subject.assemble(train("gap", None, *variant), seed=0))
        case_subject.run()
        case_subject.run()
        stepped.append(list(case_subject.model.parameters()))
    for parameters in stepped[1:]:
        torch.testing.assert_close(parameters, stepped[0])


def _wrong(case_subject, change):
    plain = case_subject.forward

    def forward(*args):
        output, state = plain(*args)
        return change(output), state

    return replace(case_subject, forward=forward)


def halved_gradient(case_subject):
    return _wrong(case_subject, lambda output: output.detach() / 2 + output / 2)


def frozen_backbone(case_subject):
    case_subject.model.backbone.requires_grad_(False)
    return case_subject


def other_loss(case_subject):
    return _wrong(case_subject, lambda output: 1.5 * output)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("halved_gradient", "differs from eager's gradient of "),
        ("frozen_backbone", "other parameters have a gradient than in eager"),
        ("other_loss", "differs from eager's output"),
    ],
)
def test_a_variant_that_trains_differently_is_refused(variant, message):
    with pytest.raises(CaseFailed, match=message) as failed:
        first_call.open_case(train("gap", None, Choice(f"{__name__}:{variant}")), seed=0)
    assert failed.value.kind == "wrong output"


class Dropped(nn.Module):
    """A linear layer with dropout in training."""

    def __init__(self):
        super().__init__()
        self.linear, self.dropout = nn.Linear(192, 8), nn.Dropout(0.5)

    def forward(self, clip):
        return self.dropout(self.linear(clip.flatten(2)))


def other_draws(case_subject):
    """Draw other random numbers, as the dropout of a compiler does."""
    plain = case_subject.forward

    def forward(*args):
        torch.manual_seed(99)
        return plain(*args)

    return replace(case_subject, forward=forward)


def not_a_number(case_subject):
    plain = case_subject.forward
    return replace(case_subject, forward=lambda *args: plain(*args) * float("nan"))


class Noisy(Dropped):
    """A model that adds noise beyond the tolerance of float32 to every number."""

    def forward(self, clip):
        output = self.linear(clip.flatten(2))
        return output + 0.01 * torch.randn_like(output)


class NotFinite(Dropped):
    """A model whose output is already not finite in eager."""

    def forward(self, clip):
        return self.linear(clip.flatten(2)) / torch.zeros(8) * 0


class SometimesInfinite(Dropped):
    """A model whose output is finite with the seed's random numbers, and infinite with some others."""

    def forward(self, clip):
        return self.linear(clip.flatten(2)) / (torch.rand(()) < 0.7)


class Steep(Dropped):
    """An ill-conditioned model, which amplifies the rounding of a weight by 100,000."""

    def forward(self, clip):
        return torch.sin(1e5 * self.linear(clip.flatten(2)))


def rounded_otherwise(case_subject):
    """Change each weight slightly, as if other kernels had summed in another order."""
    with torch.no_grad():
        for weight in case_subject.model.parameters():
            weight.mul_(1 + 5e-7)
    return case_subject


def only_zeros(case_subject):
    plain = case_subject.forward
    return replace(case_subject, forward=lambda *args: plain(*args) * 0)


def hardly_off(case_subject):
    plain = case_subject.forward
    return replace(case_subject, forward=lambda *args: plain(*args) * 1.01)


@pytest.mark.parametrize(
    ("model", "variant", "scenario"),
    [
        ("Dropped", "not_a_number", "train"),
        ("Noisy", "only_zeros", "inference"),
        ("NotFinite", "hardly_off", "inference"),
        ("Dropped", "hardly_off", "inference"),
        ("SometimesInfinite", "only_zeros", "inference"),
        ("Steep", "only_zeros", "inference"),
        ("Steep", "only_zeros", "train"),
        ("Steep", "not_a_number", "inference"),
    ],
)
def test_differences_beyond_chance_and_rounding_are_wrong(model, variant, scenario):
    broken = Case(Whole(Choice(f"{__name__}:{model}")), SMALL, (Choice(f"{__name__}:{variant}"),), scenario)
    with pytest.raises(CaseFailed, match=r"(differs from|compared with) eager's output"):
        first_call.open_case(broken, seed=0)


@pytest.mark.parametrize(
    ("model", "scenario", "random"),
    [("Dropped", "train", True), ("Dropped", "inference", False), ("Noisy", "inference", True)],
)
def test_a_random_output_may_differ_as_much_as_eagers(model, scenario, random):
    variant = Choice(f"{__name__}:other_draws")
    case = Case(Whole(Choice(f"{__name__}:{model}")), SMALL, (variant,), scenario=scenario)
    _, opening = first_call.open_case(case, seed=0)
    assert ("random_output" in {getattr(result, "code", "") for result in opening}) is random


@pytest.mark.parametrize(("model", "ill_conditioned"), [("Steep", True), ("Dropped", False)])
@pytest.mark.parametrize("scenario", ["inference", "train"])
def test_an_ill_conditioned_output_may_differ_as_much_as_rounding(model, ill_conditioned, scenario):
    case = Case(Whole(Choice(f"{__name__}:{model}")), SMALL, (Choice(f"{__name__}:rounded_otherwise"),), scenario)
    _, opening = first_call.open_case(case, seed=0)
    assert ("ill_conditioned" in {getattr(result, "code", "") for result in opening}) is ill_conditioned


class Plain(nn.Module):
    """A model that returns the means of frames and has no parameters."""

    def forward(self, clip):
        return clip.mean((3, 4))


class Labels(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, clip):
        return self.linear(clip.mean((3, 4))).argmax(-1)


class Detached(Labels):
    def forward(self, clip):
        return self.linear(clip.mean((3, 4))).detach()


class Switching(Labels):
    """As scripts for inference do, often while they are imported."""

    def forward(self, clip):
        torch.set_grad_enabled(False)
        return self.linear(clip.mean((3, 4)))


class Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(4, 3, sparse=True)

    def forward(self, clip):
        return self.words((clip.mean((2, 3, 4)) > 0).long())


class KeepsState(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.state = None

    def forward(self, clip):
        output, self.state = self.lstm(clip.mean((3, 4)), self.state)
        return output


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Plain", "no parameters that require a gradient"),
        ("Labels", "its output is torch.int64, not floating point"),
        ("Detached", "no gradient leads from its output to a parameter, as under torch.no_grad() or after .detach()"),
        ("Switching", "its code switches gradients off for the whole process, as by torch.set_grad_enabled(False)"),
        ("Sparse", "Adam takes no sparse gradients"),
        ("KeepsState", "keeps state between calls with its autograd history; detach"),
    ],
)
def test_an_untrainable_model_fails_alone_with_the_reason(model, message):
    plan = preflight([whole(model), train()], 10**10)
    records = []
    for case in plan.cases:
        with torch.enable_grad():
            records.append(attempts.attempt(case, lambda case: harness.measure(case, QUICK, ["latency", "params"])))
    assert [record.status for record in records] == ["failed", "ok"]
    assert message in records[0].failure.message


@pytest.mark.parametrize("variant", ["optimizer", "checkpoint"])
def test_a_training_variant_is_refused_in_other_scenarios(variant):
    case = replace(train("gap", None, Choice(variant)), scenario="inference")
    with pytest.raises(Impossible, match=f"{variant} cannot be used in scenario inference: use scenario: train"):
        preflight([case], 10**10)


def test_a_model_without_the_stage_cannot_be_checkpointed():
    case = Case(Whole(Choice(f"{__name__}:Labels")), SMALL, (Choice("checkpoint"),), "train")
    with pytest.raises(CaseFailed, match="no stage 'backbone' to checkpoint"):
        first_call.open_case(
            replace(case, architecture=replace(case.architecture, model=Choice(f"{__name__}:Floats"))), 0
        )


class Floats(Labels):
    def forward(self, clip):
        return self.linear(clip.mean((3, 4)))


def test_a_checkpointed_stage_may_be_called_with_keywords():
    layer = nn.Linear(2, 2)
    _checkpoint(layer, "backbone", called := set())
    assert layer(input=torch.zeros(1, 2)).shape == (1, 2)
    assert called == {"backbone"}


@pytest.mark.parametrize(("how", "parts"), [("method", "core"), ("method", "core.rnn"), ("inner", "core.rnn")])
def test_a_stage_that_is_never_called_itself_cannot_be_checkpointed(how, parts):
    """It used to be trained as in eager and reported to save nothing."""
    used = Whole(Choice("field:Used", (("how", how),)), stages=(("lstm", parts),))
    case = Case(used, Clip(2, 3, 3, 32, 32), (Choice("checkpoint", (("stage", "lstm"),)),), "train")
    if parts == "core":
        with pytest.raises(CaseFailed, match="the modules of stage 'lstm' are used but never called"):
            first_call.open_case(case, 0)
    else:
        first_call.open_case(case, 0)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_half_precision_model_has_its_own_tolerance(kind):
    case_subject = subject.assemble(train(), seed=0)
    assert agreement.tolerance(case_subject) == TOLERANCE[torch.float32]
    assert agreement.tolerance(replace(case_subject, model=case_subject.model.to(kind))) == TOLERANCE[kind]


def test_int8_refuses_a_model_that_is_one_layer():
    case_subject = replace(subject.assemble(train(), seed=0), model=nn.Linear(2, 2))
    with pytest.raises(Impossible, match="is a layer itself"):
        _dynamic(case_subject, ())


def test_torchao_refuses_a_model_without_linear_layers():
    convolution = replace(subject.assemble(train(), seed=0), model=nn.Sequential(nn.Conv2d(1, 1, 1)))
    with pytest.raises(Impossible, match="has no Linear layer"):
        _torchao(convolution, ())


def test_gpu_phases_are_timed_without_waiting_for_launches(monkeypatch):
    """The fake GPU clock advances by a millisecond a mark, and only the second step of each pass is timed."""
    ticks, busy = itertools.count(), []

    class Event:
        def __init__(self, **_):
            self.at = 0

        def record(self):
            self.at = next(ticks)

        def elapsed_time(self, other):
            return float(other.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(stopwatch, "keep_busy", lambda device, _: busy.append(device.type))
    monkeypatch.setattr(stopwatch, "mark_seconds", lambda _: 0.0)
    on_cpu = subject.assemble(train(), 0)
    results = probes.get("phases").build(replace(on_cpu, device="cuda"), Protocol(max_time=0.0))
    seconds = {reading.metric.name: reading.samples for reading in results}
    assert busy == ["cuda"] * LEAST
    assert seconds["forward_s"] == seconds["backward_s"] == pytest.approx([0.001] * LEAST)
    assert seconds["optimizer_s"] == pytest.approx([0.002] * LEAST), "releasing gradients, and the step"


def rows(output, *_):
    return output.mean((1, 2))[None]


def rounded(output, *_):
    return output.mean().long()


def cut_off(output, *_):
    return output.detach().mean()


def backward_first(output, *_):
    loss = output.mean()
    loss.backward()
    return loss


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("rows", "rows returned a tensor of torch.float32 and shape (1, 2): a loss must be a tensor of one real num"),
        ("rounded", "rounded returned a tensor of torch.int64 and shape ()"),
        ("cut_off", "does not train: no gradient leads from its loss to its output, as after .detach()"),
        ("backward_first", "call no backward() in forward or in its loss"),
    ],
)
def test_a_loss_that_cannot_be_minimised_fails_the_case_with_what_it_returned(loss, message):
    case = whole("Floats")
    case = replace(case, architecture=replace(case.architecture, loss=f"{__name__}:{loss}"))
    record = attempts.attempt(case, lambda case: harness.measure(case, QUICK, ["latency"]))
    assert record.status == "failed"
    assert message in record.failure.message
