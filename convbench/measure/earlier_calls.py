"""Explain why an output differs from eager's.

The model keeps something between calls, which an exported file does not, or the seed does not decide its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.testing import assert_close

from convbench.core.errors import CaseFailed
from convbench.core.registry import scenarios
from convbench.core.text import joined, some
from convbench.measure.agreement import tolerance
from convbench.measure.outputs import clone
from convbench.measure.parity import compare
from convbench.models import network
from convbench.models.inputs import inputs
from convbench.models.subject import Subject


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
    """Raise CaseFailed if models of one seed have other weights: then no outputs can be compared.

    ``called`` is such a model that is compared too, because memory that nobody filled may differ only there.
    """
    twin = make_eager().model.state_dict()
    models = [make_eager().model.state_dict(), *([dict(called.named_parameters())] if called else [])]
    names = [name for name in twin if not all(_is_same(twin[name], model.get(name, twin[name])) for model in models)]
    if names:
        raise CaseFailed(
            "error",
            f"two models built with the same seed have other weights in {some(names)}, so their outputs cannot be "
            "compared: fill what torch.empty(...) or torch.Tensor(...) leaves uninitialised, and draw random numbers "
            "from the generators of torch, numpy or Python that seeds reach",
        )


def _is_same(value: Any, other: Any) -> bool:
    try:
        assert_close(value, other, rtol=0.0, atol=0.0, equal_nan=True)
    except (AssertionError, TypeError):
        return not isinstance(value, torch.Tensor)  # packed weights of a quantised layer are no tensors
    return True


def _first_output(eager: Subject) -> dict[str, Any]:
    """The output of the scenario's first call, with the same inputs and random numbers each time."""
    network.seed_all(eager.seed)
    call_inputs = inputs(eager.case, eager.seed, eager.device, eager.model)
    return clone(scenarios.get(eager.case.scenario).build(replace(eager, inputs=call_inputs))())
