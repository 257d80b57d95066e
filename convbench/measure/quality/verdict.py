"""What must be known about a training run before it is compared: that it died, or that it was still learning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from convbench.analysis.quality.convergence import late_fall, late_rise
from convbench.core.findings import DEAD_RUN, UNCONVERGED
from convbench.core.record import Finding
from convbench.measure.quality.fit import Curve

CONSTANT = 0.95


def findings(answers: Sequence[int], labels: Sequence[int], curve: Curve, train: float) -> Iterator[Finding]:
    """Report a training run that died or was still learning.

    ``answers`` are the classes that the trained model predicts for the validation clips, ``labels`` the true ones and
    ``train`` the final accuracy on training clips.
    """
    share = constant_share(answers, labels)
    if share is not None:
        yield Finding(DEAD_RUN, data={"share": share})
    elif (rise := late_rise(curve.steps, curve.val, len(answers))) is not None:
        yield Finding(UNCONVERGED, data={"rise": rise})
    elif (fall := late_fall(curve.loss, train, curve.val[-1])) is not None:
        yield Finding(UNCONVERGED, data={"fall": fall})


def constant_share(answers: Sequence[int], labels: Sequence[int]) -> float | None:
    """The share of clips that get the commonest answer, if the model answers constantly; else None.

    If nearly all clips are of one class, a good model names it nearly always. So the share must also lie more than
    halfway from that class's true share to 1.
    """
    (commonest, count), *_ = Counter(answers).most_common(1)
    share, true_share = count / len(answers), list(labels).count(commonest) / len(labels)
    return share if share >= CONSTANT and share > (1 + true_share) / 2 else None
