"""Keep a trained model for the other trials of a run: a model that several runtimes evaluate is trained once.

A training gives the same result wherever it runs, so if the weights are not at hand it is simply repeated.
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
    """Return the curve of the eager case's training and leave its weights in the model; ``fit`` trains it."""
    folder = os.environ.get(scratch.TRAINED)
    if folder is None:
        return fit()

    def train() -> Content:
        curve = fit()
        return {"curve": asdict(curve), "weights": model.state_dict()}

    content = read_or_make(Path(folder, f"{digest(case.eager.id)}.pt"), train)
    model.load_state_dict(content["weights"])
    return Curve(**content["curve"])
