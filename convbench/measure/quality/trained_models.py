"""A trained model kept for the other trials of a run: what is evaluated in several runtimes is trained once.

A training is the same wherever it runs, so that one whose weights are not at hand is only done again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from torch import nn

from convbench.core import scratch
from convbench.core.record import Case
from convbench.core.text import digest
from convbench.measure.quality.fit import Curve


def train_or_load(case: Case, model: nn.Module, fit: Callable[[], Curve]) -> Curve:
    """The curve of the eager case's training, after which the model has its weights; ``fit`` trains it."""
    folder = os.environ.get(scratch.TRAINED)
    if folder is None:
        return fit()
    path = Path(folder, f"{digest(case.eager.id)}.pt")
    if case.variant and path.exists():
        stored = torch.load(path, weights_only=True)
        model.load_state_dict(stored["weights"])
        return Curve(**stored["curve"])
    curve = fit()
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, delete=False) as unfinished:
        torch.save({"weights": model.state_dict(), "curve": asdict(curve)}, unfinished)
    Path(unfinished.name).replace(path)
    return curve
