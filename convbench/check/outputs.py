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
    base_parts, head_parts = _side_by_side(_parts(base), _parts(head))
    if [array.shape for _, array in base_parts] != [array.shape for _, array in head_parts]:
        return f"base returns tensors of {_shapes(base_parts)}, head of {_shapes(head_parts)}"
    floor = NEXT_TO_NOTHING * _norm(*(array for _, array in base_parts))
    for index, ((place, array), (_, head_array)) in enumerate(zip(base_parts, head_parts, strict=True)):
        name = f"{place or f'tensor {index}'} of the output"
        if words := _not_finite_alike(array, head_array):
            return f"{name} is NaN or infinite {words}"
        if _is_whole(array) and _is_whole(head_array):
            if count := int(np.not_equal(array, head_array).sum()):
                return f"{name} differs at {counted(count, 'place')} of {array.size:,}: whole numbers have to be equal"
            continue
        finite = np.isfinite(array)
        distances = np.abs(head_array[finite] - array[finite])
        if by_norm:
            agrees = _norm(distances) <= tolerance * max(_norm(array), floor)
        else:
            agrees = bool(np.all(distances <= tolerance * (1 + np.abs(array[finite]))))
        if not agrees:
            return f"{name} differs by up to {float(distances.max()):.2g}"
    return ""


def are_empty(*files: Path) -> bool:
    """Whether none of the outputs holds a number, so that nothing was compared."""
    return not any(map(_parts, files))


def _side_by_side(base_parts: Parts, head_parts: Parts) -> tuple[Parts, Parts]:
    """Both by their names, where they have the same, else as they were returned: a side may have renamed some."""
    base, head = (sorted(parts, key=itemgetter(0)) for parts in (base_parts, head_parts))
    return (base, head) if [name for name, _ in base] == [name for name, _ in head] else (base_parts, head_parts)


def _is_whole(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub"


def _norm(*arrays: np.ndarray) -> float:
    """Of all values that are finite."""
    return math.sqrt(sum(float(np.square(np.abs(array[np.isfinite(array)]), dtype=float).sum()) for array in arrays))


def _not_finite_alike(base: np.ndarray, head: np.ndarray) -> str:
    """In which side values are not finite that are in the other; empty where they are the same in both."""
    base_finite, head_finite = np.isfinite(base), np.isfinite(head)
    for name, mask in (("head", base_finite & ~head_finite), ("base", head_finite & ~base_finite)):
        if count := int(mask.sum()):
            return f"in {name} at {counted(count, 'place')} of {base.size:,}, where the other side is not"
    is_alike = np.array_equal(base[~base_finite], head[~base_finite], equal_nan=True)
    return "" if is_alike else "in both sides, and not alike"


def _parts(path: Path) -> Parts:
    """What a worker wrote, in its order: a name is that of the place behind its number."""
    with np.load(path) as archive:
        return [(name.partition(" ")[2], archive[name]) for name in archive.files]


def _shapes(parts: Parts) -> str:
    return ", ".join("x".join(map(str, array.shape)) or "scalar" for _, array in parts) or "none"
