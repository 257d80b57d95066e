"""What the untrained features tell: linear read-outs of a digit's class and of its place from one reduced map.

They measure what is *linearly* decodable of an extractor that was not trained on the task, not what training would
reach. With a user's own trained backbone they tell of that backbone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

PENALTIES = tuple(10.0**power for power in range(-4, 3))


@dataclass(frozen=True)
class Examples:
    """Features (N, D) of pictures and what is to be read from them (N, K): places, or one column a class."""

    features: torch.Tensor
    targets: torch.Tensor


@torch.no_grad()
def features(extractor: nn.Module, pictures: torch.Tensor, batch: int = 50) -> torch.Tensor:
    """``extractor`` (backbone and reducer) of pictures (N, C, H, W), in float64, (N, D)."""
    extractor.eval()
    return torch.cat([extractor(some).double() for some in torch.split(pictures, batch)])


def readout(train: Examples, val: Examples, test: Examples) -> torch.Tensor:
    """Ridge regression's answers for ``test`` (N, K); its penalty is the one that answers ``val`` best.

    Features are centred and scaled by their spread as a whole, so that penalties mean the same for every reducer. The
    dual form is solved: its cost depends on the number of pictures, not on D.
    """
    centre = train.features.mean(0)
    spread = (train.features - centre).square().sum(1).mean().sqrt().clamp_min(1e-12)
    learned, chosen, asked = ((one.features - centre) / spread for one in (train, val, test))
    offset = train.targets.mean(0)
    values, vectors = torch.linalg.eigh(learned @ learned.T)
    turned = vectors.T @ (train.targets - offset)
    answers = [(vectors @ (turned / (values.clamp_min(0) + penalty)[:, None])).double() for penalty in PENALTIES]
    near = chosen @ learned.T
    errors = [float((near @ answer + offset - val.targets).square().mean()) for answer in answers]
    best = answers[min(range(len(errors)), key=errors.__getitem__)]
    answer: torch.Tensor = asked @ learned.T @ best + offset
    return answer


def r2(answers: torch.Tensor, targets: torch.Tensor) -> float:
    """The share of the targets' variance that the answers explain, over all columns."""
    left = (answers - targets).square().sum()
    return float(1 - left / (targets - targets.mean(0)).square().sum())
