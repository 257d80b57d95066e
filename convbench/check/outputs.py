"""Whether two sides compute the same: outputs written by workers, compared within the tolerance of their type."""

from __future__ import annotations

from pathlib import Path

import numpy as np

Arrays = list[np.ndarray]
NEXT_TO_NOTHING = 1e-2


def difference(base: Path, head: Path, tolerance: float, by_norm: bool) -> str:
    """How the outputs in two files differ, empty where they agree; gradients by the norm of what differs."""
    ours, theirs = _arrays(base), _arrays(head)
    if [array.shape for array in ours] != [array.shape for array in theirs]:
        return f"base returns tensors of {_shapes(ours)}, head of {_shapes(theirs)}"
    floor = NEXT_TO_NOTHING * float(np.sqrt(sum(float(np.square(array).sum()) for array in ours)))
    for index, (array, other) in enumerate(zip(ours, theirs, strict=True)):
        if by_norm:
            agree = float(np.linalg.norm(other - array)) <= tolerance * max(float(np.linalg.norm(array)), floor)
        else:
            agree = bool(np.allclose(other, array, rtol=tolerance, atol=tolerance, equal_nan=True))
        if not agree:
            return f"tensor {index} of the output differs by up to {float(np.nanmax(np.abs(other - array))):.2g}"
    return ""


def _arrays(path: Path) -> Arrays:
    with np.load(path) as stored:
        return [stored[name] for name in stored.files]


def _shapes(arrays: Arrays) -> str:
    return ", ".join("x".join(map(str, array.shape)) or "scalar" for array in arrays) or "none"
