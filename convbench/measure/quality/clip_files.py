"""Keep a user's clips for the other trainings of a run, so that they are read or made only once per seed.

All trainings of a seed then have the same clips in the same split, even if a user's function yields others each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from convbench.core import scratch
from convbench.core.text import digest
from convbench.measure.quality.data import Labelled, Pool, Splits
from convbench.measure.quality.run_files import Content, read_or_make

P = ParamSpec("P")


def cache_clips(load: Callable[P, Splits]) -> Callable[P, Splits]:
    """Decorator: further processes of the run that ask for the same clips get those of the first."""

    @wraps(load)
    def read_or_load(*args: P.args, **options: P.kwargs) -> Splits:
        folder = os.environ.get(scratch.CLIPS)
        if folder is None:
            return load(*args, **options)

        def load_content() -> Content:
            splits = load(*args, **options)
            parts = tuple(map(tuple, (splits.train, splits.val, splits.test)))
            return {"parts": parts, "classes": splits.classes, "pool": splits.pool and tuple(splits.pool)}

        content = read_or_make(Path(folder, f"{digest(repr((load.__qualname__, args, options)))}.pt"), load_content)
        train, val, test = (Labelled(*part) for part in content["parts"])
        return Splits(train, val, test, content["classes"], content["pool"] and Pool(*content["pool"]))

    return read_or_load
