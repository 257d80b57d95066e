"""What GAP loses: shifts of the frame, shown on its features and on a task that is nothing but a shift."""

from __future__ import annotations

from functools import cache

import torch

from convbench.analysis.claims.claim import Judgement, Number, Verdict, claim
from convbench.analysis.claims.evidence import Evidence
from convbench.analysis.claims.paired import Difference, mean_difference
from convbench.analysis.quality.lessons import Lesson
from convbench.core.record import Case, Choice, Clip, Parts
from convbench.models import network

SEED, SHIFT = 0, (11, -7)
ROUNDING, NEAR = 1e-5, 0.03
TASK = "direction"


@claim(
    8,
    "GAP collapses all spatial information and discards spatial detail",
    quote="GAP collapses all spatial information into single scalars per channel and it discards spatial detail.",
    prediction="A shift of the frame does not change GAP's features, and with GAP the direction of a motion cannot be "
    "learnt.",
    experiment="The article's convolution with padding that wraps around, GAP, and a random frame rolled by (11, -7) "
    "pixels: the features of both. From trainings: the direction of a digit on a torus with GAP on a stride-1 "
    "convolution that wraps around, where a run that names one class counts as what it reached.",
)
def position_loss(evidence: Evidence) -> Judgement:
    changes = {reducer: _change(reducer) for reducer in ("gap", "avg-k")}
    wrapped_lessons, other_lessons = _lessons(evidence)
    return judge(changes["gap"], changes["avg-k"], wrapped_lessons, other_lessons)


def judge(gap: float, averages: float, wrapped_lessons: list[Lesson], other_lessons: list[Lesson]) -> Judgement:
    """Supported if a shift changes nothing and trainings, if given, are at chance; refuted if neither holds.

    Undecided if trainings are shown neither to be at chance nor above it. ``averages`` is the change of a reducer that
    keeps positions; ``other_lessons`` are trainings of GAP on the other backbone.
    """
    numbers = [
        Number("Change of GAP's features by the shift, relative", gap, "share"),
        Number("Change of the averages of 4×4 cells, for comparison", averages, "share"),
    ]
    is_invariant, gain = gap < ROUNDING, _above_chance(wrapped_lessons)
    why = "A shift changes GAP's features " + ("by no more than rounding" if is_invariant else f"by {100 * gap:.2g} %")
    verdict: Verdict = "supported" if is_invariant else "refuted"
    if gain:
        is_at_chance = gain.high <= NEAR
        is_decided = is_at_chance or gain.is_shown
        verdict = "undecided" if not is_decided else verdict if is_at_chance == is_invariant else "depends"
        numbers.append(gain.number(f"{TASK}, GAP after a convolution that wraps around: accuracy less chance"))
        limit = "" if not is_at_chance else f"at most {100 * NEAR:.0f} points " if gain.is_shown else "no "
        phrase = f"{TASK} is learnt {limit}better than chance"
        why += f", and {phrase}" if is_decided else f", but whether {phrase} these seeds do not tell"
    why += "." if gain else "; no trainings on direction were given."
    if leak := _above_chance(other_lessons):
        numbers.append(leak.number(f"{TASK}, GAP after the strided backbone padded with zeros: accuracy less chance"))
        if leak.is_shown:
            why += " Borders and strides of a backbone leak positions into its channels, which GAP then keeps."
    return Judgement(verdict, why, tuple(numbers))


def _above_chance(lessons: list[Lesson]) -> Difference | None:
    values = [lesson.curve[-1].test - lesson.chance for lesson in lessons if lesson.curve and lesson.chance]
    return mean_difference(TASK, values) if len(values) > 1 else None


def _lessons(evidence: Evidence) -> tuple[list[Lesson], list[Lesson]]:
    lessons = [lesson for lesson in evidence.lessons if lesson.task == TASK]
    gap_lessons = [lesson for lesson in lessons if lesson.architecture.reducer.name == "gap"]
    pool = [lesson for lesson in gap_lessons if not lesson.architecture.layer_norm]
    wrapped_lessons = [
        lesson for lesson in pool if dict(lesson.architecture.backbone.options).get("padding_mode") == "circular"
    ]
    ground = {(quality.architecture, quality.clip) for quality in evidence.qualities}
    other_lessons = [
        lesson
        for lesson in pool
        if lesson not in wrapped_lessons and (lesson.architecture, lesson.clip) in ground and not lesson.flag
    ]
    return wrapped_lessons, other_lessons


@cache
def _change(reducer: str) -> float:
    """Return how much a shift changes a reducer's features, relative to their norm."""
    backbone = Choice("conv", (("padding_mode", "circular"),))
    model = network.build(Case(Parts(backbone, Choice(reducer)), Clip()), SEED, "cpu")
    assert isinstance(model, network.ConvReducerRNN)
    frame = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(SEED))
    with torch.inference_mode():
        before, after = (model.reducer(model.backbone(image)) for image in (frame, frame.roll(SHIFT, (2, 3))))
    return float((before - after).norm() / before.norm())
