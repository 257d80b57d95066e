"""Find clips that occur more than once, pixel by pixel: in two splits, or under two labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from convbench.core.findings import CLIPS_OF_TWO_LABELS, TEST_CLIPS_KNOWN
from convbench.core.record import Finding
from convbench.measure.quality.data import Labelled, Splits


def findings(splits: Splits) -> Iterator[Finding]:
    """Report splits that share clips, and clips that have two classes."""
    train, val, test = (_digests(split) for split in splits[:3])
    training_digests = {*train, *val}
    if known_count := sum(clip in training_digests for clip in test):
        yield Finding(TEST_CLIPS_KNOWN, data={"known": known_count, "clips": len(test)})
    labels: dict[int, set[int]] = defaultdict(set)
    for digests, split in zip((train, val, test), splits[:3], strict=True):
        for clip, label in zip(digests, split.labels.tolist(), strict=True):
            labels[clip].add(label)
    if ambiguous_count := sum(len(names) > 1 for names in labels.values()):
        yield Finding(CLIPS_OF_TWO_LABELS, data={"clips": ambiguous_count})


def _digests(split: Labelled) -> list[int]:
    return [hash(clip.numpy().tobytes()) for clip in split.clips]
