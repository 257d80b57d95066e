"""Find clips whose values are far from those that networks learn from, such as 0 to 255 as floats."""

from __future__ import annotations

from collections.abc import Iterator

from convbench.core.findings import CLIPS_UNSCALED
from convbench.core.record import Finding
from convbench.measure.quality.data import Splits

LARGEST = 20.0
"""Standardised values are rarely beyond 10, pixels as numbers mostly beyond 100."""


def findings(splits: Splits) -> Iterator[Finding]:
    """Report large values, by the largest value of the training clips."""
    largest = max(map(float, splits.train.clips.aminmax()), key=abs)
    if abs(largest) > LARGEST:
        yield Finding(CLIPS_UNSCALED, data={"largest": largest})
