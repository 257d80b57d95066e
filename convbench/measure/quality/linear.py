"""Read a digit's class and place from the untrained features of one reduced map, by linear read-outs.

They measure what is *linearly* decodable from an extractor that was not trained on the task, not what training would
reach. With a user's own trained backbone they describe that backbone.
"""

from __future__ import annotations

import torch
from torch import nn

from convbench.models.network import in_mode

PENALTIES = tuple(10.0**power for power in range(-4, 3))
BATCH = 20


@torch.no_grad()
def features(extractor: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    """The features (N, D) that ``extractor`` (backbone and reducer) computes from pictures (N, C, H, W)."""
    in_mode(extractor, training=False)
    return torch.cat([extractor(part) for part in torch.split(pictures, BATCH)])


class Readout:
    """Ridge regression on features (N, D) of the pictures for fitting, for choosing the penalty, and for testing.

    Features are centred and scaled by their overall spread, so that penalties mean the same for every reducer. The dual
    form is solved: apart from one product of the features, its cost depends on the number of pictures, not on D.
    """

    def __init__(self, train: torch.Tensor, val: torch.Tensor, test: torch.Tensor) -> None:
        centre = train.mean(0)
        deviations = train - centre
        spread = deviations.square().sum(1).mean().double().clamp_min(1e-24)
        self.values, self.vectors = torch.linalg.eigh((deviations @ deviations.T).double() / spread)
        self.val, self.test = (((features - centre) @ deviations.T).double() / spread for features in (val, test))

    def __call__(self, train: torch.Tensor, val: torch.Tensor) -> torch.Tensor:
        """Return answers for the test pictures (N, K), from targets (N, K) for fitting and choosing the penalty."""
        offset = train.mean(0)
        coordinates = self.vectors.T @ (train - offset)
        duals = [self.vectors @ (coordinates / (self.values.clamp_min(0) + penalty)[:, None]) for penalty in PENALTIES]
        errors = [float((self.val @ dual + offset - val).square().mean()) for dual in duals]
        answers: torch.Tensor = self.test @ duals[errors.index(min(errors))] + offset
        return answers


def r2(answers: torch.Tensor, targets: torch.Tensor) -> float:
    """The share of the targets' variance that the answers explain, over all columns."""
    residual = (answers - targets).square().sum()
    return float(1 - residual / (targets - targets.mean(0)).square().sum())
