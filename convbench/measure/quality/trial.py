"""Turn a case with a trial into readings: the curve of a training, or what the untrained features tell."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn

from convbench.core import metrics
from convbench.core.record import Case, Choice, Clip, Finding, Metric, Parts, Protocol, Reading, Training, Trial
from convbench.measure import progress
from convbench.measure.counts.counted import macs_by_stage
from convbench.measure.quality import controls, digits, findings
from convbench.measure.quality.data import Labelled, Splits
from convbench.measure.quality.fit import Recipe, TrainingCurve, accuracy, fit, predictions, share_right
from convbench.measure.quality.in_variant import OfClips, features_of, names_of
from convbench.measure.quality.linear import Readout, features, r2
from convbench.measure.quality.run_files import train_or_load
from convbench.measure.quality.splitting import random
from convbench.measure.quality.tasks import load
from convbench.models import network, subject
from convbench.models.weights import channels_last

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"

SEEDS_APART = 1000
"""Distance between the seeds of two trials: each stage of a model takes the next seed after the stage before it."""

PICTURES = (400, 150, 250)
"""Numbers of pictures for the linear read-outs: for fitting, for choosing the penalty, and for testing."""

FEWEST, FEW, FEW_BYTES = 40, 200, 2**24
"""Clips per split that are drawn to check whether a task can be drawn: ``FEW``, or fewer if they are large
(``FEW_BYTES`` of float32 per split), but at least ``FEWEST``. Of a user's own clips there is at least one of each
class."""


def trial(case: Case, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Try the case's architecture on its task. Raises CaseFailed if a loss is not finite."""
    assert case.trial is not None
    with _deterministic():
        yield from (learn if case.trial.trains else read_out)(case, case.trial, protocol)


def learn(case: Case, trial: Trial, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Yield one training run: its curve over steps, FLOPs and seconds, and whether it can be averaged with others.

    For a variant, the curve is only its last point: the model is trained in eager and then run by the variant.
    """
    assert trial.learning_rate is not None
    training = protocol.training
    splits = load(trial.task, case.clip, training, trial.seed)
    progress.tell("training", [])
    yield from findings.of_clips(splits)
    splits = controls.apply(trial.control, splits, trial.seed)
    headed_case = _with_head(case, len(splits.classes))
    model = channels_last(_model(headed_case, trial, protocol))
    recipe = Recipe(training, case.clip.batch, trial.learning_rate)
    eager_curve = train_or_load(case, model, lambda: fit(model, splits, recipe, trial.seed))
    clip = replace(case.clip, batch=min(case.clip.batch, len(splits.train.labels)))
    flops = 2 * sum(macs_by_stage(replace(headed_case.eager, scenario="train", clip=clip)).values())
    train = accuracy(model, Labelled(*(part[: len(splits.test.labels)] for part in splits.train)))
    answers = predictions(model, splits.val.clips).tolist()
    names = names_of(headed_case, model, splits.train) if case.variant else partial(predictions, model)
    curve = _in_variant(names, splits, eager_curve) if case.variant else eager_curve
    yield from _of_curve(curve, flops)
    yield _reading(metrics.TRAIN_ACCURACY, [train])
    yield from _of_test_clips(splits, names)
    if (expected_accuracy := controls.expected_accuracy(trial.control, trial.task, len(splits.classes))) is not None:
        yield _reading(metrics.CONTROL_EXPECTED, [expected_accuracy])
    yield from findings.of_training(answers, splits.val.labels.tolist(), eager_curve, train)


def _of_curve(curve: TrainingCurve, flops_a_step: int) -> Iterator[Reading]:
    yield _reading(metrics.STEPS, curve.steps)
    yield _reading(metrics.TRAIN_FLOPS, [flops_a_step * step for step in curve.steps])
    yield _reading(metrics.TRAIN_SECONDS, curve.seconds)
    yield _reading(metrics.TRAIN_LOSS, curve.loss)
    yield _reading(metrics.VAL_ACCURACY, curve.val)
    yield _reading(metrics.TEST_ACCURACY, curve.test)


def _of_test_clips(splits: Splits, names: OfClips) -> Iterator[Reading]:
    """Yield facts of the test clips; if all seeds draw from one pool, also which of them ``names`` gets right."""
    labels = splits.test.labels
    yield _reading(metrics.MAJORITY, [int(labels.bincount().max()) / len(labels)])
    yield _reading(metrics.CLASSES, [len(splits.classes)])
    yield _reading(metrics.TEST_CLIPS, [len(labels)])
    if splits.pool:
        yield _reading(metrics.POOL, [splits.pool.size])
        yield _reading(metrics.TEST_SOURCES, splits.pool.test_sources)
        yield _reading(metrics.TEST_RIGHT, (names(splits.test.clips) == labels).tolist())


def _in_variant(names: OfClips, splits: Splits, curve: TrainingCurve) -> TrainingCurve:
    """The last point of the training with the variant's accuracies: it is the trained model that is deployed."""
    accuracies = [[share_right(names(clips), labels)] for clips, labels in (splits.val, splits.test)]
    return TrainingCurve(curve.steps[-1:], curve.seconds[-1:], curve.loss[-1:], *accuracies)


def read_out(case: Case, trial: Trial, protocol: Protocol) -> Iterator[Reading]:
    """Yield how well ridge regression reads a digit's class and place from the untrained backbone and reducer.

    Each frame has one digit. For a variant, the features are those that it computes.
    """
    model = _model(case.eager, trial, protocol)
    assert isinstance(model, network.ConvReducerRNN)
    pictures = [
        digits.place_digits(source, case.clip, count, random(trial.seed, use))
        for use, (source, count) in enumerate(zip(digits.sources(trial.seed), PICTURES, strict=True), start=1)
    ]
    train, val, test = pictures
    if case.variant:
        extract = features_of(case, model, Labelled(train.frames.to(case.device), train.labels))
    else:
        extract = partial(features, nn.Sequential(model.backbone, model.reducer))
    readout = Readout(*(extract(split.frames.to(case.device)).cpu() for split in pictures))
    is_right = readout(_one_hot(train.labels), _one_hot(val.labels)).argmax(1) == test.labels
    place_r2 = r2(readout(train.centres.double(), val.centres.double()), test.centres.double())
    yield _reading(metrics.WHERE_R2, [place_r2])
    yield _reading(metrics.WHAT_ACCURACY, [float(is_right.float().mean())])


def refuse_unlearnable(case: Case) -> None:
    """Raise ConvbenchError if the task cannot be drawn or read on the case's clips, before anything is measured."""
    assert case.trial is not None
    if case.trial.trains:
        _refuse_undrawable(case.trial.task, replace(case.clip, batch=1))


@contextmanager
def _deterministic() -> Iterator[None]:
    """While entered, torch is deterministic but does not fill uninitialised memory, which would take a quarter longer.

    Nothing here reads uninitialised memory. On a GPU, recurrent layers are deterministic only if cuBLAS was configured
    before its first product in this process.
    """
    is_told = CUBLAS in os.environ
    os.environ.setdefault(CUBLAS, ":4096:2")
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fills_memory = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        memory.fill_uninitialized_memory = fills_memory
        if not is_told:
            del os.environ[CUBLAS]
        torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])


@lru_cache(maxsize=64)
def _refuse_undrawable(task: Choice, clip: Clip) -> None:
    size = 4 * clip.frames * clip.channels * clip.height * clip.width
    count = max(FEWEST, min(FEW, FEW_BYTES // size))
    small_task = replace(task, options=tuple(option for option in task.options if option[0] != "train_clips"))
    load(small_task, clip, Training(train_clips=count, val_clips=count, test_clips=count), 0)


def _with_head(case: Case, classes: int) -> Case:
    assert isinstance(case.architecture, Parts)
    return replace(case, architecture=replace(case.architecture, head=classes), trial=None)


def _model(case: Case, trial: Trial, protocol: Protocol) -> nn.Module:
    return subject.assemble(case, protocol.seed + SEEDS_APART * trial.seed).model


def _one_hot(labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.one_hot(labels, len(digits.CLASSES)).double()


def _reading(metric: Metric, samples: Sequence[float]) -> Reading:
    return Reading(metric, tuple(map(float, samples)))
