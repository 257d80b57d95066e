"""Whether two sides compute the same: outputs written by workers, compared within the tolerance of their type."""

from __future__ import annotations

import math
from operator import itemgetter
from pathlib import Path

import numpy as np

from convbench.core.text import counted

Parts = list[tuple[str, np.ndarray]]
"""The numbers of an output, each with the name of its place in it, as in ``['logits']``."""
NEXT_TO_NOTHING = 1e-2
"""As ``measure.parity`` has it, which imports torch; here nothing does. A test holds the two equal."""


def difference(base: Path, head: Path, tolerance: float, by_norm: bool) -> str:
    """How the outputs in two files differ, empty where they agree; gradients by the norm of what differs.

    Whole numbers, such as classes and tokens, have to be equal: of a thousand the next one is another.
    """
    ours, theirs = _side_by_side(_parts(base), _parts(head))
    if [array.shape for _, array in ours] != [array.shape for _, array in theirs]:
        return f"base returns tensors of {_shapes(ours)}, head of {_shapes(theirs)}"
    floor = NEXT_TO_NOTHING * _norm(*(array for _, array in ours))
    for index, ((place, array), (_, other)) in enumerate(zip(ours, theirs, strict=True)):
        name = f"{place or f'tensor {index}'} of the output"
        if where := _not_finite_alike(array, other):
            return f"{name} is NaN or infinite {where}"
        if _is_whole(array) and _is_whole(other):
            if others := int(np.not_equal(array, other).sum()):
                return f"{name} differs at {counted(others, 'place')} of {array.size:,}: whole numbers have to be equal"
            continue
        finite = np.isfinite(array)
        apart = np.abs(other[finite] - array[finite])
        if by_norm:
            agree = _norm(apart) <= tolerance * max(_norm(array), floor)
        else:
            agree = bool(np.all(apart <= tolerance * (1 + np.abs(array[finite]))))
        if not agree:
            return f"{name} differs by up to {float(apart.max()):.2g}"
    return ""


def are_empty(*files: Path) -> bool:
    """Whether none of the outputs holds a number, so that nothing was compared."""
    return not any(map(_parts, files))


def _side_by_side(ours: Parts, theirs: Parts) -> tuple[Parts, Parts]:
    """Both by their names, where they have the same, else as they were returned: a side may have renamed some."""
    base, head = (sorted(parts, key=itemgetter(0)) for parts in (ours, theirs))
    return (base, head) if [name for name, _ in base] == [name for name, _ in head] else (ours, theirs)


def _is_whole(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub"


def _norm(*arrays: np.ndarray) -> float:
    """Of all values that are finite."""
    return math.sqrt(sum(float(np.square(np.abs(array[np.isfinite(array)]), dtype=float).sum()) for array in arrays))


def _not_finite_alike(ours: np.ndarray, theirs: np.ndarray) -> str:
    """In which side values are not finite that are in the other; empty where they are the same in both."""
    finite, also = np.isfinite(ours), np.isfinite(theirs)
    for name, lost in (("head", finite & ~also), ("base", also & ~finite)):
        if count := int(lost.sum()):
            return f"in {name} at {counted(count, 'place')} of {ours.size:,}, where the other side is not"
    alike = np.array_equal(ours[~finite], theirs[~finite], equal_nan=True)
    return "" if alike else "in both sides, and not alike"


def _parts(path: Path) -> Parts:
    """What a worker wrote, in its order: a name is that of the place behind its number."""
    with np.load(path) as stored:
        return [(name.partition(" ")[2], stored[name]) for name in stored.files]


def _shapes(parts: Parts) -> str:
    return ", ".join("x".join(map(str, array.shape)) or "scalar" for _, array in parts) or "none"
