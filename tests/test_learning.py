"""Test training and linear read-outs: the curve, its cost, exact repetition, and runs that may not be averaged."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from convbench.analysis import table
from convbench.analysis.quality import convergence
from convbench.core.errors import CaseFailed, Impossible
from convbench.core.record import Case, Choice, Clip, Parts, Protocol, Recurrent, Training, Trial
from convbench.core.system import scratch
from convbench.measure import harness
from convbench.measure.counts.counted import macs_by_stage
from convbench.measure.preflight import preflight
from convbench.measure.quality import findings, fit, linear, trial
from convbench.measure.quality.data import Labelled, Splits
from convbench.measure.quality.run_files import train_or_load
from convbench.measure.quality.trial import FEW, FEWEST

TRAINING = Training(steps=12, checkpoints=3, train_clips=40, val_clips=20, test_clips=30)
PROTOCOL = Protocol(training=TRAINING)
PARTS = Parts(Choice("conv", (("channels", 4),)), Choice("gap"), 4, Recurrent(hidden=8))
LEARN = Case(PARTS, Clip(8, 3, 1, 16, 16), scenario="learn", trial=Trial(Choice("identity"), 1, 0.01))
TWO_CLASSES = Splits(*[Labelled(torch.zeros(6, 1, 1, 2, 2), torch.tensor([0, 1] * 3))] * 3, ("a", "b"))
PROBE = Case(PARTS, Clip(8, 3, 1, 32, 32), scenario="probe", trial=Trial(Choice("placed-digit"), 0))


def reducer(name: str, size: int | None = None, **options: int) -> Case:
    choice = Choice(name, tuple(options.items()))
    parts = replace(PARTS, backbone=Choice("conv"), reducer=choice, lstm_input=size)
    return replace(PROBE, architecture=parts)


def test_a_training_is_a_curve_over_steps_flops_and_seconds() -> None:
    record = harness.measure(LEARN, PROTOCOL)
    assert record.samples("steps") == (4, 8, 12)
    headed = replace(LEARN, architecture=replace(PARTS, head=10), scenario="train", trial=None)
    a_step = 2 * sum(macs_by_stage(headed).values())
    assert record.samples("train_flops") == (4 * a_step, 8 * a_step, 12 * a_step)
    seconds = record.samples("train_seconds")
    assert seconds == tuple(sorted(seconds)) and seconds[0] > 0
    for metric in ("train_loss", "val_accuracy", "test_accuracy"):
        assert len(record.samples(metric)) == 3
    assert record.samples("classes") == (10,)
    assert record.samples("majority_accuracy") == (0.1,)
    assert record.reading("test_right") is None, "every seed of a shipped task draws clips of its own"


@pytest.mark.parametrize("variant", [(), (Choice("channels_last"),)])
def test_each_variants_answer_to_a_pooled_clip_is_kept(variant: tuple[Choice, ...]) -> None:
    trial = Trial(Choice("plugins.own_clips:clips", (("count", 60),)), 1, 0.01)
    own = replace(LEARN, clip=Clip(2, 4, 1, 8, 8), trial=trial, variant=variant)
    record = harness.measure(own, PROTOCOL)
    right, sources = record.samples("test_right"), record.samples("test_sources")
    assert record.samples("pool") == (60,)
    assert len(right) == len(set(sources)) == record.samples("test_clips")[0]
    assert sum(right) / len(right) == pytest.approx(record.samples("test_accuracy")[-1])
    assert not {"test_right", "test_sources"} & table.rows([record])[0].keys()
    assert table.rows([record])[0]["pool"] == 60


@pytest.mark.parametrize("name", ["lazy_reducer", "reducer_with_positions"])
def test_models_with_lazy_or_reordered_weights_are_trained(name: str) -> None:
    """Lazy layers have no weights before the first call. Weights of five axes are ordered unlike those of four."""
    record = harness.measure(replace(LEARN, architecture=replace(PARTS, reducer=Choice(f"field:{name}"))), PROTOCOL)
    assert len(record.samples("test_accuracy")) == 3


def test_the_same_seed_repeats_a_training_exactly() -> None:
    def learned(case: Case) -> list[tuple[float, ...]]:
        record = harness.measure(case, PROTOCOL)
        return [reading.samples for reading in record.readings if reading.metric.name != "train_seconds"]

    assert LEARN.trial
    assert learned(LEARN) == learned(LEARN)
    assert learned(LEARN) != learned(replace(LEARN, trial=replace(LEARN.trial, seed=2)))


@pytest.mark.parametrize("own", [None, ":16:8"])
def test_cublas_is_set_deterministic_during_a_trial(monkeypatch: pytest.MonkeyPatch, own: str | None) -> None:
    """torch's documentation asks for this for recurrent layers on CUDA. A value that the user has set stays."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if own:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", own)
    memory = torch.utils.deterministic
    monkeypatch.setattr(memory, "fill_uninitialized_memory", True)
    with trial._deterministic():
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == (own or ":4096:2")
        assert torch.are_deterministic_algorithms_enabled() and not memory.fill_uninitialized_memory
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == own
    assert memory.fill_uninitialized_memory and not torch.are_deterministic_algorithms_enabled()


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 2)

    def forward(self, clip: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.out(clip.flatten(2)), None


def test_a_model_evaluated_in_variants_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any of its trials may come first. Without variants no weights are kept: they used to fill the disk."""
    monkeypatch.setenv(scratch.TRAINED, str(tmp_path))
    trainings = []
    for case in (replace(LEARN, variant=(Choice("int8"),)), LEARN):
        model = nn.Linear(2, 2)

        def trained(model: nn.Linear = model) -> fit.TrainingCurve:
            trainings.append(model.weight.tolist())
            return fit.TrainingCurve([12], [1.0], [0.5], [0.5], [0.5])

        assert train_or_load(case, model, trained).loss == [0.5]
        assert [model.weight.tolist()] == trainings


def test_training_seconds_exclude_the_checkpoints() -> None:
    ticks = iter(range(1000))
    recipe = fit.Recipe(Training(steps=6, checkpoints=3), 2, 0.1)
    curve = fit.fit(OneLayer(), TWO_CLASSES, recipe, 0, clock=lambda: next(ticks))
    assert curve.steps == [2, 4, 6]
    assert curve.seconds == [2, 4, 6]


def test_training_seconds_include_the_wait_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wait, steps that are launched but not finished would be left out."""
    done: list[str] = []
    monkeypatch.setattr(fit, "wait_for", lambda device: done.append(device.type))
    ticks = iter(range(1000))

    def clock() -> float:
        done.append("clock")
        return next(ticks)

    fit.fit(OneLayer(), TWO_CLASSES, fit.Recipe(Training(steps=2, checkpoints=1), 2, 0.1), 0, clock=clock)
    assert done == ["clock", "clock", "clock", "cpu", "clock"]


def test_a_model_is_in_training_mode_from_the_first_step() -> None:
    """It used to be in evaluation mode, in which models are built, up to the first checkpoint."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.out, self.modes = nn.BatchNorm1d(4), nn.Linear(4, 2), []

        def forward(self, clip: torch.Tensor) -> tuple[torch.Tensor, None]:
            self.modes.append(self.training)
            return self.out(self.norm(clip.flatten(1)))[:, None], None

    model = Normed().eval()
    fit.fit(model, TWO_CLASSES, fit.Recipe(Training(steps=6, checkpoints=3), 2, 0.1), 0)
    assert model.modes == [True, True, False, False] * 3, "two steps, then the clips to validate and to test by"
    assert model.norm.num_batches_tracked == 6


def test_a_model_with_a_part_made_by_export_is_evaluated() -> None:
    """It has no modes: the training failed at the first checkpoint."""
    clips = torch.zeros(1, 1, 1, 2)
    model = nn.Sequential(torch.export.export(nn.Linear(2, 2), (clips,)).module())
    assert fit.predictions(model, clips).shape == (1,)
    assert linear.features(model, clips).shape == clips.shape


def test_a_non_finite_loss_is_reported_with_step_and_rate() -> None:
    assert LEARN.trial
    case = replace(LEARN, trial=replace(LEARN.trial, learning_rate=3e37))
    with pytest.raises(CaseFailed, match=r"loss was (nan|inf) at step [2-9] of 12 at learning rate 3e\+37: try"):
        harness.measure(case, PROTOCOL)


def test_a_never_finite_loss_is_not_blamed_on_the_rate() -> None:
    """The message used to be "by step 4 ... try a smaller one" for a reducer that divides by nought."""
    case = replace(LEARN, architecture=replace(PARTS, reducer=Choice("field:divides_by_nought"), lstm_input=None))
    with pytest.raises(CaseFailed, match=r"loss was nan at step 1 of 12, before anything was learned: look for clips"):
        harness.measure(case, PROTOCOL)


def test_batches_are_full_and_no_clip_repeats_early() -> None:
    data = Labelled(torch.arange(10.0), torch.arange(10))
    batches = fit._batches(data, 4, seed=3)
    first = torch.cat([next(batches).labels, next(batches).labels])
    assert len(set(first.tolist())) == 8
    assert len(next(batches).labels) == 4
    assert len(next(fit._batches(data, 32, seed=3)).labels) == 10
    torch.manual_seed(1)  # of the model: all models of a seed get the same batches
    assert torch.equal(next(fit._batches(data, 4, seed=3)).labels, first[:4])


@pytest.mark.parametrize(
    ("named", "val", "expected"),
    [
        ([3] * 98 + [1] * 2, [0.1, 0.1, 0.1], [("dead_run", {"share": 0.98})]),
        ([3] * 94 + [1] * 6, [0.5, 0.5, 0.5], []),
        ([0, 1] * 250, [0.2, 0.4, 0.6], [("unconverged", {"rise": pytest.approx(0.2)})]),
        ([0, 1] * 250, [0.80, 0.82, 0.84], []),
        ([0, 1] * 250, [0.9, 0.6, 0.3], []),
        ([0, 1] * 10, [0.5, 0.52, 0.54], []),
    ],
)
def test_dead_and_unconverged_trainings_are_found(
    named: list[int], val: list[float], expected: list[tuple[str, dict[str, float]]]
) -> None:
    curve = fit.TrainingCurve(steps=[100, 200, 300], val=val, loss=[2.0, 1.0, 0.5])
    labels = [i % 10 for i in range(len(named))]
    reported = findings.of_training(named, labels, curve, 0.6)
    assert [(finding.code, finding.data) for finding in reported] == expected


@pytest.mark.parametrize(
    ("wrong", "missed", "dead"), [(0, 0, False), (0, 15, False), (5, 10, False), (0, 39, True), (0, 40, True)]
)
def test_naming_a_dominant_class_often_is_not_a_constant_answer(wrong: int, missed: int, dead: bool) -> None:
    """960 of 1,000 clips are of one class. ``wrong`` of these and ``missed`` of the other 40 are misclassified."""
    labels = [0] * 960 + [1] * 40
    named = [1] * wrong + [0] * (960 - wrong + missed) + [1] * (40 - missed)
    assert (findings.constant_share(named, labels) is not None) is dead


@pytest.mark.parametrize(
    ("loss", "train", "val", "fell"),
    [
        # fc 64 on identity, seed 0: accuracy is flat only because the schedule is, and it had learnt nothing yet
        ([2.31, 2.31, 2.30, 2.15, 1.81, 1.66, 1.60], 0.36, 0.31, 0.34 / 2.15),
        # gap on binding: still half way up
        ([1.05, 0.77, 0.68, 0.61, 0.54, 0.49, 0.44], 0.84, 0.81, 0.07 / 0.61),
        # gap with LayerNorm on direction: a seed that stays on a plateau
        ([2.09, 1.49, 1.02, 1.01, 0.99, 0.98, 0.97], 0.50, 0.41, None),
        # learnt and overfitted
        ([2.08, 0.77, 0.27, 0.07, 0.03, 0.02, 0.02], 1.00, 1.00, None),
        ([2.32, 2.28, 2.15, 1.79, 1.46, 1.23, 1.13], 0.74, 0.56, None),
        # at the limits: five checkpoints, the training accuracy of what is learnt, and the lead of what is overfitted
        ([2.0, 1.5, 1.2, 1.0], 0.5, 0.5, None),
        ([2.0, 1.5, 1.2, 1.0, 0.9], 0.1, 0.0, 0.2 / 1.2),
        ([2.0, 1.5, 1.2, 1.0, 0.9], 0.95, 0.9, None),
    ],
)
def test_a_schedule_that_ended_too_early_is_found(
    loss: list[float], train: float, val: float, fell: float | None
) -> None:
    assert convergence.late_fall(loss, train, val) == (fell and pytest.approx(fell))
    curve = fit.TrainingCurve(list(range(len(loss))), loss=loss, val=[val] * len(loss))
    reported = findings.of_training([0, 1] * 50, [i % 10 for i in range(100)], curve, train)
    assert [finding.data for finding in reported] == ([{"fall": pytest.approx(fell)}] if fell else [])


@pytest.mark.parametrize(
    ("val", "clips", "rise"),
    [
        ([0.1] * 6 + [0.2, 0.3, 0.5], 10_000, 0.15),
        ([0.1] * 8 + [0.1, 0.2, 0.3, 0.5], 10_000, 0.13),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.7, 0.7], 10_000, None),
        # 1.645 standard errors of a slope, sqrt(0.5 * 0.5 / clips / 2), are 0.07 from 70 clips on
        ([0.4, 0.5, 0.6], 69, None),
        ([0.4, 0.5, 0.6], 70, 0.1),
        ([0.4, 0.6], 10_000, 0.2),
        ([0.5], 10_000, None),
    ],
)
def test_the_rise_is_per_hundred_steps_over_the_last_third(val: list[float], clips: int, rise: float | None) -> None:
    steps = [100 * number for number in range(1, len(val) + 1)]
    assert convergence.late_rise(steps, val, clips) == (rise and pytest.approx(rise))


@pytest.mark.parametrize("right", [(0, 0, 2), (10, 12, 12)])
def test_clips_that_are_nearly_all_alike_tell_no_less_noise_than_one_that_differs(right: tuple[int, ...]) -> None:
    assert convergence.late_rise([10, 20, 30], [count / 12 for count in right], 12) is None


def test_the_read_out_is_ridge_regression_with_a_validated_penalty() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(6, 2, generator=generator, dtype=torch.float64)

    def examples(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.randn(count, 6, generator=generator, dtype=torch.float64)
        noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        return features, features @ weights + 3 + 0.1 * noise

    (train, train_targets), (val, val_targets), (test, test_targets) = examples(50), examples(40), examples(30)
    scale = (train - train.mean(0)).square().sum(1).mean().sqrt()
    scaled = [((features - train.mean(0)) / scale).numpy() for features in (train, val, test)]
    fitted = [Ridge(alpha=penalty).fit(scaled[0], train_targets) for penalty in linear.PENALTIES]
    best = min(fitted, key=lambda ridge: float(((ridge.predict(scaled[1]) - val_targets.numpy()) ** 2).mean()))
    answers = linear.Readout(train, val, test)(train_targets, val_targets)
    torch.testing.assert_close(answers, torch.from_numpy(best.predict(scaled[2])))
    assert linear.r2(answers, test_targets) > 0.99
    assert linear.r2(test_targets.mean(0).expand_as(test_targets), test_targets) == pytest.approx(0)


def test_an_untrained_map_holds_the_position_until_pooling() -> None:
    def probe_scores(case: Case) -> tuple[float, float]:
        record = harness.measure(case, PROTOCOL)
        return record.samples("where_r2")[0], record.samples("what_accuracy")[0]

    gap, cells, shuffled = (
        probe_scores(reducer("gap")),
        probe_scores(reducer("avg-k", k=2)),
        probe_scores(reducer("random-projection", 128)),
    )
    assert gap[0] < 0.4 and gap[1] > 0.4
    assert cells[0] > 0.9 and cells[1] > 0.5
    assert shuffled[0] > 0.7 and shuffled[1] < 0.4
    assert probe_scores(reducer("gap")) == gap


def test_trials_are_refused_before_anything_runs() -> None:
    small = replace(LEARN, clip=Clip(8, 3, 1, 4, 4))
    with pytest.raises(Impossible, match="too small for a digit"):
        preflight([small], 2**33)


def test_a_task_is_checked_with_only_a_few_clips() -> None:
    asked = Choice("identity", (("train_clips", 10**9),))
    assert preflight([replace(LEARN, trial=replace(LEARN.trial, task=asked))], 2**33).cases


@pytest.mark.parametrize(
    ("clip", "count"), [(Clip(1, 3, 1, 16, 16), FEW), (Clip(1, 8, 3, 64, 64), 42), (Clip(1, 16, 3, 224, 224), FEWEST)]
)
def test_large_clips_are_checked_with_fewer(clip: Clip, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings: list[Training] = []
    monkeypatch.setattr(trial, "load", lambda *asked: trainings.append(asked[2]))
    trial._refuse_undrawable.__wrapped__(Choice("identity"), clip)
    assert trainings == [Training(train_clips=count, val_clips=count, test_clips=count)]


def test_a_task_may_have_more_classes_than_checked_clips() -> None:
    many = Choice("plugins.own_clips:many_classes", (("classes", FEW + 1),))
    case = replace(LEARN, clip=Clip(8, 4, 1, 8, 8), trial=replace(LEARN.trial, task=many))
    assert preflight([case], 2**33).cases


def test_clips_that_exceed_the_memory_are_refused_at_once() -> None:
    """The default 5,500 clips of a video's size used to take 16 GiB and more in each training."""
    large = replace(LEARN, clip=replace(LEARN.clip, batch=1, frames=16, height=224, width=224))
    sentence = r"needs at least 16\.45 GiB for 5,500 clips of identity, and 8\.00 GiB are available: use a smaller clip"
    with pytest.raises(Impossible, match=sentence):
        preflight([large], 2**33, Training())
    assert preflight([large], 2**33, Training(train_clips=500)).cases


def test_equal_trials_are_found_after_resolving() -> None:
    assert LEARN.trial
    other = replace(LEARN, architecture=replace(PARTS, reducer=Choice("avg-k", (("k", 1),)), lstm_input=None))
    later = replace(LEARN, trial=replace(LEARN.trial, seed=9))
    plan = preflight([LEARN, other, later], 2**33)
    assert [case.id for case in plan.cases] == [LEARN.id, later.id]
    assert len(plan.equal[LEARN.id]) == 1


def test_a_step_of_fewer_clips_costs_fewer_flops() -> None:
    record = harness.measure(replace(LEARN, clip=replace(LEARN.clip, batch=64)), PROTOCOL)
    full = replace(LEARN, clip=replace(LEARN.clip, batch=40), scenario="train", trial=None)
    headed = replace(full, architecture=replace(PARTS, head=10))
    assert record.samples("train_flops")[0] == 4 * 2 * sum(macs_by_stage(headed).values())
