"""Train a model on labelled clips: one run, one curve, cut later at equal steps, FLOPs or seconds.

Adam with a cosine schedule to zero, gradients clipped to norm 1, batches in a seeded order; the class is read from the
head's output after the last frame. The model is in training mode from the first step on. The schedule covers the whole
run: a curve cut early is not a run that was planned to be short.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from convbench.core.errors import CaseFailed
from convbench.core.record import Training
from convbench.measure.quality.data import Labelled, Splits
from convbench.measure.timing import wait_for
from convbench.models import network

MAX_NORM = 1.0
EVALUATION_BATCH = 250


@dataclass
class TrainingCurve:
    """A run's results at each checkpoint; ``seconds`` are those of training alone, summed up."""

    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    val: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)


class Recipe(NamedTuple):
    """How one model is trained: steps, clips per batch, and learning rate."""

    training: Training
    batch: int
    learning_rate: float


def fit(
    model: nn.Module, splits: Splits, recipe: Recipe, seed: int, clock: Callable[[], float] = time.perf_counter
) -> TrainingCurve:
    """Train ``model`` in place and return its curve.

    Raises CaseFailed that names the step if the loss is no longer a finite number.
    """
    training, batch, rate = recipe
    network.in_mode(model, training=True)  # it was built in evaluation mode
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps)
    curve, seconds, losses = TrainingCurve(), 0.0, []
    batches = _batches(splits.train, batch, seed)
    checkpoint_steps = set(checkpoints(training))
    for step in range(1, training.steps + 1):
        start = clock()
        losses.append(_step(model, next(batches), parameters, optimizer))
        schedule.step()
        if step in checkpoint_steps:
            wait_for(parameters[0].device)
        seconds += clock() - start
        if step in checkpoint_steps:
            loss = float(torch.stack(losses).mean())
            if not math.isfinite(loss):
                raise _divergence(list(map(float, losses)), step, recipe)
            losses.clear()
            curve.steps.append(step)
            curve.seconds.append(seconds)
            curve.loss.append(loss)
            curve.val.append(accuracy(model, splits.val))
            curve.test.append(accuracy(model, splits.test))
    return curve


def _divergence(losses: list[float], last_step: int, recipe: Recipe) -> CaseFailed:
    """Explain why there is no curve, from the losses up to ``last_step``. At step 1 nothing has been learned yet."""
    place = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses) - 1)
    step = last_step - len(losses) + place + 1
    words = f"the loss was {losses[place]} at step {step} of {recipe.training.steps}"
    if step == 1:
        doubt = ", before anything was learned: look for clips with extreme values, or parts that divide by 0"
    else:
        rate = f" at learning rate {recipe.learning_rate:g}: try a smaller one (training.learning_rates)"
        doubt = f"{rate}, or look for clips with extreme values"
    return CaseFailed("error", f"{words}{doubt}")


def checkpoints(training: Training) -> list[int]:
    """The steps after which accuracy is measured: evenly spread, up to the last step."""
    return [round(training.steps * number / training.checkpoints) for number in range(1, training.checkpoints + 1)]


def accuracy(model: nn.Module, data: Labelled) -> float:
    """The share of clips that the model classifies correctly."""
    return share_right(predictions(model, data.clips), data.labels)


def share_right(answers: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of answers that equal the clips' labels."""
    return float((answers == labels).float().mean())


@torch.no_grad()
def predictions(model: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """The class that the model predicts for each clip, on the CPU."""
    network.in_mode(model, training=False)
    device = next(model.parameters()).device
    answers = [scores(model, batch.to(device)).argmax(-1).cpu() for batch in torch.split(clips, EVALUATION_BATCH)]
    network.in_mode(model, training=True)
    return torch.cat(answers)


def scores(model: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """The head's output after the last frame, (N, classes)."""
    outputs: torch.Tensor = model(clips)[0]
    return outputs[:, -1]


def _step(
    model: nn.Module, examples: Labelled, parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer
) -> torch.Tensor:
    device = parameters[0].device
    optimizer.zero_grad()
    loss = functional.cross_entropy(scores(model, examples.clips.to(device)), examples.labels.to(device))
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(parameters, MAX_NORM)
    optimizer.step()
    return loss.detach()


def _batches(data: Labelled, size: int, seed: int) -> Iterator[Labelled]:
    """Yield batches without end, each pass in a new order; clips that do not fill a batch are left out of a pass."""
    generator = torch.Generator().manual_seed(seed)
    size = min(size, len(data.labels))
    while True:
        permutation = torch.randperm(len(data.labels), generator=generator)
        for indices in torch.split(permutation, size):
            if len(indices) == size:
                yield Labelled(data.clips[indices], data.labels[indices])
