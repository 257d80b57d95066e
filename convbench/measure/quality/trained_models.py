"""A trained model kept for the other trials of a run: what is evaluated in several runtimes is trained once.

A training is the same wherever it runs, so that one whose weights are not at hand is only done again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from torch import nn

from convbench.core import scratch
from convbench.core.record import Case
from convbench.core.text import digest
from convbench.measure.quality.fit import Curve
from convbench.measure.quality.run_files import Content, read_or_make


def train_or_load(case: Case, model: nn.Module, fit: Callable[[], Curve]) -> Curve:
    """The curve of the eager case's training, after which the model has its weights; ``fit`` trains it."""
    folder = os.environ.get(scratch.TRAINED)
    if folder is None:
        return fit()

    def train() -> Content:
        curve = fit()
        return {"curve": asdict(curve), "weights": model.state_dict()}

    content = read_or_make(Path(folder, f"{digest(case.eager.id)}.pt"), train)
    model.load_state_dict(content["weights"])
    return Curve(**content["curve"])
