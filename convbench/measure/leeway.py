"""How far from eager an output may be besides: as far as chance, or rounding, takes eager itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

import torch

from convbench.core.errors import CaseFailed
from convbench.core.findings import ILL_CONDITIONED, RANDOM_OUTPUT
from convbench.core.record import Finding
from convbench.measure.agreement import agreement, arithmetic, tolerance
from convbench.measure.outputs import numbers, timed
from convbench.measure.parity import NEXT_TO_NOTHING, ROUNDING, Parity, norm_of, parity_of
from convbench.models import network
from convbench.models.subject import Subject, assemble

DRAWS, MARGIN = 4, 2
"""Calls of eager with other random numbers, or rounded otherwise, that show how far that takes it, and how much further
it may take a variant: of an output of few numbers so few calls do not show the furthest."""


def by_chance(
    subject: Subject, eager: Subject, output: Any, expected: Any, fresh: Callable[[], Subject] | None = None
) -> Finding | None:
    """Says so where an output is as near to eager's as its number type and chance let it be.

    Chance goes as far as it takes eager itself with other random numbers, such as dropout of a compiler draws.
    ``fresh`` makes eager's subject anew, where its weights are not those of its seed.
    """
    fresh = fresh or partial(assemble, eager.case, eager.seed)
    first = _drawn_again(fresh(), 1)
    if not _differs(eager, first, expected):
        return None
    others = (_drawn_again(fresh(), draw) for draw in range(2, DRAWS + 1))
    chance = max(_off(other, expected) for other in chain((first,), others))
    # What is refused though nothing is off has NaN where eager has it: that is not by chance.
    if not 0 < _off(output, expected) < MARGIN * chance + tolerance(subject):
        return None
    return Finding(RANDOM_OUTPUT, "note")


def by_rounding(subject: Subject, eager: Subject, output: Any, expected: Any) -> Finding | None:
    """Says so where each part of an output is as near to eager's as rounding lets it be.

    Rounding goes as far as it takes eager itself with weights that are hardly others: an activation of a deep network
    that crosses zero, or the other of two equal maxima, moves gradients by per cents. Runtimes are not excused: they
    are compared on several clips.
    """
    step = ROUNDING.get(arithmetic(subject))
    errors = _errors(output, expected)
    # What is refused though nothing is off has NaN where eager has it: that is not by rounding either.
    if step is None or subject.deployment or not any(map(any, errors.values())):
        return None
    moved = [_errors(_nudged(eager, step, draw), expected) for draw in range(DRAWS)]
    allowed = tolerance(subject)
    for path, error in errors.items():
        furthest = [max(of_part) for of_part in zip(*(of_draw.get(path, (0.0, 0.0)) for of_draw in moved), strict=True)]
        if not all(off <= MARGIN * most + allowed < math.inf for off, most in zip(error, furthest, strict=True)):
            return None
    relative = max(error.relative for of_draw in moved for error in of_draw.values())
    return Finding(ILL_CONDITIONED, "note", {"relative": relative})


def _nudged(eager: Subject, step: float, draw: int) -> Any:
    """The output of a first call of eager with each weight off by a share of ``step``, up or down."""
    again = assemble(eager.case, eager.seed)
    weights = [w for w in again.model.parameters() if w.is_floating_point() and w.layout == torch.strided]
    directions = torch.Generator().manual_seed(draw)
    with torch.no_grad():
        for weight in weights:
            up = torch.randint(2, weight.shape, generator=directions).to(weight.device)
            weight.mul_((1 - step + 2 * step * up).to(weight.dtype))
    return timed(again)[0]


def _errors(output: Any, expected: Any) -> dict[str, Parity]:
    """How far each part is off, relative to its norm; of one that is next to nothing, to that much of all parts'."""
    parts, wanted = numbers(output), numbers(expected)
    if parts.keys() != wanted.keys():
        return {"": Parity(math.inf, math.inf)}
    norm = math.hypot(*(norm_of(leaf) for leaf in wanted.values()))
    return {path: parity_of([(parts[path], leaf)], NEXT_TO_NOTHING * norm) for path, leaf in wanted.items()}


def _drawn_again(fresh: Subject, draw: int) -> Any:
    """The output of a first call of eager with other random numbers."""
    network.seed_all(fresh.seed + draw)
    return timed(fresh)[0]


def _differs(eager: Subject, output: Any, expected: Any) -> bool:
    try:
        list(agreement(eager, eager, output, expected))
    except CaseFailed:
        return True
    return False


def _off(output: Any, expected: Any) -> float:
    """The relative error over all parts together; infinite where they, their shapes or what is finite differ."""
    parts, wanted = numbers(output), numbers(expected)
    if parts.keys() != wanted.keys():
        return math.inf
    return parity_of([(parts[path], leaf) for path, leaf in wanted.items()]).relative
