"""What must be known of a training run before it is compared: that it died, or that it was still learning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from convbench.analysis.quality.convergence import cut_short, rising
from convbench.core.findings import DEAD_RUN, UNCONVERGED
from convbench.core.record import Finding
from convbench.measure.quality.fit import Curve

CONSTANT = 0.95


def findings(answers: Sequence[int], labels: Sequence[int], curve: Curve, train: float) -> Iterator[Finding]:
    """``answers`` are the classes that the trained model names for the validation clips, ``labels`` the true ones and
    ``train`` the accuracy on training clips at the end."""
    share = constant_share(answers, labels)
    if share is not None:
        yield Finding(DEAD_RUN, data={"share": share})
    elif (rise := rising(curve.steps, curve.val, len(answers))) is not None:
        yield Finding(UNCONVERGED, data={"rise": rise})
    elif (fall := cut_short(curve.loss, train, curve.val[-1])) is not None:
        yield Finding(UNCONVERGED, data={"fall": fall})


def constant_share(answers: Sequence[int], labels: Sequence[int]) -> float | None:
    """The share of clips for which one and the same class is named, where that is a constant answer; else None.

    Where nearly all clips are of one class a good model names it nearly always, so what counts is how much more often
    than it is true: more than halfway from that share to all.
    """
    (commonest, count), *_ = Counter(answers).most_common(1)
    share, true_share = count / len(answers), list(labels).count(commonest) / len(labels)
    return share if share >= CONSTANT and share > (1 + true_share) / 2 else None
