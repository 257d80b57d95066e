"""Report what must be known of a training before it is compared: faults of its clips, a death, or an early end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from convbench.analysis.quality.convergence import late_fall, late_rise
from convbench.core.findings import CLIPS_OF_TWO_LABELS, CLIPS_UNSCALED, DEAD_RUN, TEST_CLIPS_KNOWN, UNCONVERGED
from convbench.core.record import Finding
from convbench.measure.quality.data import Splits
from convbench.measure.quality.fit import TrainingCurve

CONSTANT = 0.95
LARGEST = 20.0
"""Standardised values are rarely beyond 10, pixels as numbers mostly beyond 100."""


def of_training(answers: Sequence[int], labels: Sequence[int], curve: TrainingCurve, train: float) -> Iterator[Finding]:
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


def of_clips(splits: Splits) -> Iterator[Finding]:
    """Report what is wrong with a task's clips: repeats, and values far from those that networks learn from."""
    yield from repeated_clips(splits)
    yield from large_values(splits)


def repeated_clips(splits: Splits) -> Iterator[Finding]:
    """Report clips that occur more than once, pixel by pixel: in two splits, or under two labels."""
    train, val, test = ([hash(clip.numpy().tobytes()) for clip in split.clips] for split in splits[:3])
    training_digests = {*train, *val}
    if known_count := sum(clip in training_digests for clip in test):
        yield Finding(TEST_CLIPS_KNOWN, data={"known": known_count, "clips": len(test)})
    labels: dict[int, set[int]] = defaultdict(set)
    for digests, split in zip((train, val, test), splits[:3], strict=True):
        for clip, label in zip(digests, split.labels.tolist(), strict=True):
            labels[clip].add(label)
    if ambiguous_count := sum(len(names) > 1 for names in labels.values()):
        yield Finding(CLIPS_OF_TWO_LABELS, data={"clips": ambiguous_count})


def large_values(splits: Splits) -> Iterator[Finding]:
    """Report large values, such as 0 to 255 as floats, by the largest value of the training clips."""
    largest = max(map(float, splits.train.clips.aminmax()), key=abs)
    if abs(largest) > LARGEST:
        yield Finding(CLIPS_UNSCALED, data={"largest": largest})
