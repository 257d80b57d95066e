"""Training: forward, loss, backward and the optimizer's step, repeated on one clip."""

from __future__ import annotations

from convbench.core.registry import scenarios
from convbench.models.subject import Subject
from convbench.models.training_step import TrainingStep


@scenarios.register("train")
def train(subject: Subject) -> TrainingStep:
    """A training step: forward, mean-square loss, backward, Adam (the variant ``optimizer`` takes another)."""
    return TrainingStep(subject)
