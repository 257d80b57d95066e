"""Explain why a runtime's output differs: the model keeps something between calls, which an exported file does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from convbench.core.errors import CaseFailed
from convbench.core.registry import scenarios
from convbench.core.text import joined
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


def _first_output(eager: Subject) -> dict[str, Any]:
    """The output of the scenario's first call, with the same inputs and random numbers each time."""
    network.seed_all(eager.seed)
    call_inputs = inputs(eager.case, eager.seed, eager.device, eager.model)
    return clone(scenarios.get(eager.case.scenario).build(replace(eager, inputs=call_inputs))())
