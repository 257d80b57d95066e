"""What configurations reached from each seed, and how little their runs may be taken to differ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from convbench.analysis.inference.arrays import Flags, Floats

CLIPS = 1000
"""Test clips of a run, where nothing else is said."""

LEAST_SD, MOST_SD = 0.5, 1.5
"""Of a run's accuracy, in test clips: it varies by the binomial draw of its clips at least, within these.

Accuracies of few clips are so coarse that a few seeds agree by luck, which says that they are exact. Of many the runs
themselves say how much they vary: less than the draw makes them, since the clips of a seed are the same for all."""


class SeedTable(NamedTuple):
    """Accuracies as a table (seeds, k) of k configurations, NaN where there is no sound run; ``clips`` are the test
    clips of a run, and ``least_variance`` (k,) what the variance of a run is at least. ``floor`` (k,) and
    ``gap_floors`` (k, k) are what no number of seeds takes from the variance of a mean and of a difference of two
    (``pool``)."""

    values: Floats
    clips: int
    least_variance: Floats
    floor: Floats
    gap_floors: Floats

    @classmethod
    def of(cls, accuracies: ArrayLike, clips: int = CLIPS) -> SeedTable:
        """The table of these accuracies."""
        values = np.asarray(accuracies, dtype=float)
        k = values.shape[1]
        share = np.nanmean(values, axis=0)
        sd = np.sqrt(np.maximum(clips * share * (1 - share), 0.0))
        return cls(values, clips, (np.clip(sd, LEAST_SD, MOST_SD) / clips) ** 2, np.zeros(k), np.zeros((k, k)))

    @property
    def is_sound(self) -> Flags:
        """Which runs are sound (seeds, k)."""
        return ~np.isnan(self.values)

    @property
    def own_floor(self) -> float:
        """What a mean keeps for itself, on average: half of what a difference of two keeps."""
        k = len(self.gap_floors)
        return float(self.gap_floors.sum()) / (2 * k * max(k - 1, 1))

    def subtract(self, price: Floats) -> SeedTable:
        """The table with as much taken from each configuration as it costs (k,)."""
        return self._replace(values=self.values - price)

    def columns(self, places: tuple[int, ...]) -> SeedTable:
        """The table of some configurations."""
        index = list(places)
        return self._replace(
            values=self.values[:, index], least_variance=self.least_variance[index], floor=self.floor[index],
            gap_floors=self.gap_floors[np.ix_(index, index)],
        )  # fmt: skip
