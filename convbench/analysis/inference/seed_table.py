"""Hold the accuracy of each configuration from each seed, and the least variance that its runs are taken to have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from convbench.analysis.inference.arrays import Flags, Floats

CLIPS = 1000
"""Test clips of a run, unless told otherwise."""

LEAST_SD, MOST_SD = 0.5, 1.5
"""Bounds, in test clips, of the least standard deviation of a run's accuracy, which is the binomial draw of its clips.

Accuracies of few clips are so coarse that a few seeds agree by luck, as if they were exact. With many clips the runs
themselves tell how much they vary: less than the draw does, since all configurations get the same clips of a seed.
"""


class SeedTable(NamedTuple):
    """Accuracies as a table (seeds, k) of k configurations; NaN marks runs that are not sound.

    ``clips`` is the number of test clips of a run, and ``least_variance`` (k,) the least variance of a run. ``floor``
    (k,) and ``gap_floors`` (k, k) are the parts of the variance of a mean, and of a difference of two, that no number
    of seeds removes (``clip_pool``).
    """

    values: Floats
    clips: int
    least_variance: Floats
    floor: Floats
    gap_floors: Floats

    @classmethod
    def of(cls, accuracies: ArrayLike, clips: int = CLIPS) -> SeedTable:
        """Build the table of these accuracies, without floors."""
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
        """The average part of the gap floors that belongs to one mean: half of that of a difference of two."""
        k = len(self.gap_floors)
        return float(self.gap_floors.sum()) / (2 * k * max(k - 1, 1))

    def subtract(self, price: Floats) -> SeedTable:
        """Return the table with each configuration's price (k,) subtracted from its accuracies."""
        return self._replace(values=self.values - price)

    def columns(self, places: tuple[int, ...]) -> SeedTable:
        """Return the table of the configurations at these places."""
        index = list(places)
        return self._replace(
            values=self.values[:, index], least_variance=self.least_variance[index], floor=self.floor[index],
            gap_floors=self.gap_floors[np.ix_(index, index)],
        )  # fmt: skip
