"""Find what is wrong with a task's clips: clips that repeat, and values far from those that networks learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from convbench.core.findings import CLIPS_OF_TWO_LABELS, CLIPS_UNSCALED, TEST_CLIPS_KNOWN
from convbench.core.record import Finding
from convbench.measure.quality.data import Splits

LARGEST = 20.0
"""Standardised values are rarely beyond 10, pixels as numbers mostly beyond 100."""


def findings(splits: Splits) -> Iterator[Finding]:
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
