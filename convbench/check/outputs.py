"""Whether two sides compute the same: outputs written by workers, compared within the tolerance of their type."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from convbench.core.text import counted

Arrays = list[np.ndarray]
NEXT_TO_NOTHING = 1e-2


def difference(base: Path, head: Path, tolerance: float, by_norm: bool) -> str:
    """How the outputs in two files differ, empty where they agree; gradients by the norm of what differs."""
    ours, theirs = _arrays(base), _arrays(head)
    if [array.shape for array in ours] != [array.shape for array in theirs]:
        return f"base returns tensors of {_shapes(ours)}, head of {_shapes(theirs)}"
    floor = NEXT_TO_NOTHING * _norm(*ours)
    for index, (array, other) in enumerate(zip(ours, theirs, strict=True)):
        name = f"tensor {index} of the output"
        if where := _not_finite_alike(array, other):
            return f"{name} is NaN or infinite {where}"
        finite = np.isfinite(array)
        apart = np.abs(other[finite] - array[finite])
        if by_norm:
            agree = _norm(apart) <= tolerance * max(_norm(array), floor)
        else:
            agree = bool(np.all(apart <= tolerance * (1 + np.abs(array[finite]))))
        if not agree:
            return f"{name} differs by up to {float(apart.max()):.2g}"
    return ""


def _norm(*arrays: np.ndarray) -> float:
    """Of all values that are finite."""
    return math.sqrt(sum(float(np.square(np.abs(array[np.isfinite(array)])).sum()) for array in arrays))


def _not_finite_alike(ours: np.ndarray, theirs: np.ndarray) -> str:
    """In which side values are not finite that are in the other; empty where they are the same in both."""
    finite, also = np.isfinite(ours), np.isfinite(theirs)
    for name, lost in (("head", finite & ~also), ("base", also & ~finite)):
        if count := int(lost.sum()):
            return f"in {name} at {counted(count, 'place')} of {ours.size:,}, where the other side is not"
    alike = np.array_equal(ours[~finite], theirs[~finite], equal_nan=True)
    return "" if alike else "in both sides, and not alike"


def _arrays(path: Path) -> Arrays:
    with np.load(path) as stored:
        return [stored[name] for name in stored.files]


def _shapes(arrays: Arrays) -> str:
    return ", ".join("x".join(map(str, array.shape)) or "scalar" for array in arrays) or "none"
