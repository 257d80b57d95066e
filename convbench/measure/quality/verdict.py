"""What must be known of a training run before it is compared: that it died, or that it was still learning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convbench.analysis.quality.convergence import cut_short, rising
from convbench.core.record import Finding
from convbench.measure.quality.fit import Curve

CONSTANT = 0.95


def findings(named: Sequence[int], curve: Curve, train: float) -> Iterator[Finding]:
    """``named`` are the classes that the trained model names for the validation clips, ``train`` the accuracy on
    training clips at the end."""
    share = max(named.count(label) for label in set(named)) / len(named)
    if share >= CONSTANT:
        yield Finding("dead_run", data={"share": share})
    elif (rise := rising(curve.steps, curve.val, len(named))) is not None:
        yield Finding("unconverged", data={"rise": rise})
    elif (fall := cut_short(curve.loss, train, curve.val[-1])) is not None:
        yield Finding("unconverged", data={"fall": fall})
