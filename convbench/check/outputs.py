"""Compare the outputs that the workers of two sides wrote, within the tolerance of their type."""

from __future__ import annotations

import math
from operator import itemgetter
from pathlib import Path

import numpy as np

from convbench.core.text import counted

OutputParts = list[tuple[str, np.ndarray]]
"""The arrays of an output, each with the name of its place in the output, such as ``['logits']``."""
NEXT_TO_NOTHING = 1e-2
"""A gradient's norm counts as at least this share of that of all gradients.

A copy of that of ``measure.comparison.parity``, which imports torch while this module must not; a test compares them.
"""


def difference(
    base: Path, head: Path, tolerance: float, by_norm: bool, names: tuple[str, str] = ("base", "head")
) -> str:
    """Return how the outputs in two files differ, with the ``names`` of the sides; empty if they agree.

    ``by_norm`` compares gradients by the norm of their difference. Whole numbers, such as classes and tokens, have to
    be equal: one class is not close to the next.
    """
    base_parts, head_parts = _side_by_side(_parts(base), _parts(head))
    if [array.shape for _, array in base_parts] != [array.shape for _, array in head_parts]:
        return f"{names[0]} returns tensors of {_shapes(base_parts)}, {names[1]} of {_shapes(head_parts)}"
    floor = NEXT_TO_NOTHING * _norm(*(array for _, array in base_parts))
    for index, ((place, array), (_, head_array)) in enumerate(zip(base_parts, head_parts, strict=True)):
        name = f"{place or f'tensor {index}'} of the output"
        if words := _not_finite_alike(array, head_array, names):
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


def _side_by_side(base_parts: OutputParts, head_parts: OutputParts) -> tuple[OutputParts, OutputParts]:
    """Return both in the order of their names if these agree, else as returned: a side may have renamed some."""
    base, head = (sorted(parts, key=itemgetter(0)) for parts in (base_parts, head_parts))
    return (base, head) if [name for name, _ in base] == [name for name, _ in head] else (base_parts, head_parts)


def _is_whole(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub"


def _norm(*arrays: np.ndarray) -> float:
    """Return the Euclidean norm of all finite values."""
    return math.sqrt(sum(float(np.square(np.abs(array[np.isfinite(array)]), dtype=float).sum()) for array in arrays))


def _not_finite_alike(base: np.ndarray, head: np.ndarray, names: tuple[str, str]) -> str:
    """Return how the values that are not finite differ between the sides; empty if they are the same."""
    base_finite, head_finite = np.isfinite(base), np.isfinite(head)
    for name, mask in zip(reversed(names), (base_finite & ~head_finite, head_finite & ~base_finite), strict=True):
        if count := int(mask.sum()):
            return f"in {name} at {counted(count, 'place')} of {base.size:,}, where the other side is not"
    is_alike = np.array_equal(base[~base_finite], head[~base_finite], equal_nan=True)
    return "" if is_alike else "in both sides, but not in the same way"


def _parts(path: Path) -> OutputParts:
    """Read the arrays that a worker wrote, in its order. Each entry is named by a number and the place."""
    with np.load(path) as archive:
        return [(name.partition(" ")[2], archive[name]) for name in archive.files]


def _shapes(parts: OutputParts) -> str:
    return ", ".join("x".join(map(str, array.shape)) or "scalar" for _, array in parts) or "none"
