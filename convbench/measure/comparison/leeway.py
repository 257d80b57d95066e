"""Judge an output beyond the tolerance: accept it if chance or rounding takes eager itself as far, or explain it.

An output also differs if the model keeps something between calls, which an exported file does not, or if the seed does
not decide the model's weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.testing import assert_close

from convbench.core.errors import CaseFailed
from convbench.core.findings import ILL_CONDITIONED, RANDOM_OUTPUT
from convbench.core.record import Finding
from convbench.core.registry import scenarios
from convbench.core.text import joined, some
from convbench.measure.comparison.agreement import agreement, arithmetic, tolerance
from convbench.measure.comparison.outputs import clone, numbers, time_call
from convbench.measure.comparison.parity import NEXT_TO_NOTHING, ROUNDING, Parity, compare, norm_of, parity_of
from convbench.models import network
from convbench.models.inputs import inputs
from convbench.models.subject import Subject, assemble

DRAWS, MARGIN = 4, 2
"""Calls of eager, with other random numbers or other rounding, that show how far it spreads; and how many times that
spread a variant may be off: so few calls do not show the furthest, if an output has few numbers."""


def by_chance(
    subject: Subject, eager: Subject, output: Any, expected: Any, make_eager: Callable[[], Subject] | None = None
) -> Finding | None:
    """Return a finding if an output is as near to eager's as its number type and chance allow.

    Chance is how far other random numbers take eager itself, such as those that a compiler draws for dropout.
    ``make_eager`` makes eager's subject anew if its weights are not those of its seed.
    """
    make_eager = make_eager or partial(assemble, eager.case, eager.seed)
    first_output = _redraw(make_eager(), 1)
    if not _differs(eager, first_output, expected):
        return None
    more_outputs = (_redraw(make_eager(), draw) for draw in range(2, DRAWS + 1))
    chance = max(_error(redraw, expected) for redraw in chain((first_output,), more_outputs))
    # An output that was refused with an error of 0 has NaN where eager has it: that is not by chance. And a chance
    # without bounds, because some random numbers make eager's own output infinite, would excuse any output.
    if not 0 < _error(output, expected) < MARGIN * chance + tolerance(subject) < math.inf:
        return None
    return Finding(RANDOM_OUTPUT, "note")


def by_rounding(subject: Subject, eager: Subject, output: Any, expected: Any) -> Finding | None:
    """Return a finding if each part of an output is as near to eager's as rounding allows.

    Rounding is how far hardly changed weights take eager itself: an activation of a deep network that crosses zero, or
    the other of two equal maxima, moves gradients by per cents. Runtimes are not excused: they are compared on several
    clips.
    """
    step = ROUNDING.get(arithmetic(subject))
    errors = _errors(output, expected)
    # An output that was refused with an error of 0 has NaN where eager has it: that is not by rounding either.
    if step is None or subject.deployment or not any(map(any, errors.values())):
        return None
    draws = [_errors(_nudged_output(eager, step, draw), expected) for draw in range(DRAWS)]
    limit = tolerance(subject)
    for path, error in errors.items():
        bounds = [max(values) for values in zip(*(draw.get(path, (0.0, 0.0)) for draw in draws), strict=True)]
        if not all(value <= MARGIN * bound + limit < math.inf for value, bound in zip(error, bounds, strict=True)):
            return None
    relative = max(error.relative for draw in draws for error in draw.values())
    return Finding(ILL_CONDITIONED, "note", {"relative": relative})


def explanation(error: CaseFailed, eager: Subject) -> CaseFailed:
    """Return the error of a wrong output, with the reason if eager's output depends on earlier calls.

    ``eager`` must not have been called yet.
    """
    versions = {name: (buffer, buffer._version) for name, buffer in eager.model.named_buffers()}
    first_output = _first_output(eager)
    changed_names = [
        name
        for name, buffer in eager.model.named_buffers()
        if name in versions and (buffer is not versions[name][0] or buffer._version != versions[name][1])
    ]
    try:
        compare(_first_output(eager), first_output, tolerance(eager))
    except CaseFailed:
        place = f"its buffers {joined(changed_names)}" if changed_names else "attributes of its own"
        reason = (
            f"the model's output depends on what earlier calls left in {place}, which an export takes for a constant"
        )
        return CaseFailed(error.kind, f"{reason}: pass it in and out like a stream's state; {error}", error.results)
    return error


def refuse_other_weights(make_eager: Callable[[], Subject], called: nn.Module | None) -> None:
    """Raise CaseFailed if models of one seed have different weights: see ``other_weights``."""
    if reason := other_weights(make_eager, called):
        raise CaseFailed("error", reason)


def other_weights(make_eager: Callable[[], Subject], called: nn.Module | None = None) -> str:
    """Return why no outputs can be compared if models of one seed have different weights; empty if they are the same.

    ``called`` is such a model that is compared too, because memory that nobody filled may differ only there.
    """
    twin = make_eager().model.state_dict()
    models = [make_eager().model.state_dict(), *([dict(called.named_parameters())] if called else [])]
    names = [name for name in twin if not all(_is_same(twin[name], model.get(name, twin[name])) for model in models)]
    if not names:
        return ""
    return (
        f"two models built with the same seed have different weights in {some(names)}, so their outputs cannot be "
        "compared: fill what torch.empty(...) or torch.Tensor(...) leaves uninitialised, and draw random numbers from "
        "the generators of torch, numpy or Python that seeds reach"
    )


def _nudged_output(eager: Subject, step: float, draw: int) -> Any:
    """The output of a first call of eager with each weight off by a share of ``step``, up or down."""
    twin = assemble(eager.case, eager.seed)
    weights = [w for w in twin.model.parameters() if w.is_floating_point() and w.layout == torch.strided]
    generator = torch.Generator().manual_seed(draw)
    with torch.no_grad():
        for weight in weights:
            directions = torch.randint(2, weight.shape, generator=generator).to(weight.device)
            weight.mul_((1 - step + 2 * step * directions).to(weight.dtype))
    return time_call(twin)[0]


def _is_same(value: Any, other: Any) -> bool:
    try:
        assert_close(value, other, rtol=0.0, atol=0.0, equal_nan=True)
    except (AssertionError, TypeError):
        return not isinstance(value, torch.Tensor)  # packed weights of a quantised layer are no tensors
    return True


def _errors(output: Any, expected: Any) -> dict[str, Parity]:
    """The error of each part relative to its norm, or to a share of the norm of all parts if that is larger."""
    parts, references = numbers(output), numbers(expected)
    if parts.keys() != references.keys():
        return {"": Parity(math.inf, math.inf)}
    norm = math.hypot(*(norm_of(leaf) for leaf in references.values()))
    return {path: parity_of([(parts[path], leaf)], NEXT_TO_NOTHING * norm) for path, leaf in references.items()}


def _redraw(eager: Subject, draw: int) -> Any:
    """The output of a first call of eager with other random numbers."""
    network.seed_all(eager.seed + draw)
    return time_call(eager)[0]


def _first_output(eager: Subject) -> dict[str, Any]:
    """The output of the scenario's first call, with the same inputs and random numbers each time."""
    network.seed_all(eager.seed)
    call_inputs = inputs(eager.case, eager.seed, eager.device, eager.model)
    return clone(scenarios.get(eager.case.scenario).build(replace(eager, inputs=call_inputs))())


def _differs(eager: Subject, output: Any, expected: Any) -> bool:
    try:
        list(agreement(eager, eager, output, expected))
    except CaseFailed:
        return True
    return False


def _error(output: Any, expected: Any) -> float:
    """The relative error over all parts together; infinite if parts or shapes differ, or a difference is not finite."""
    parts, references = numbers(output), numbers(expected)
    if parts.keys() != references.keys():
        return math.inf
    return parity_of([(parts[path], leaf) for path, leaf in references.items()]).relative
