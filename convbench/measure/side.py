"""Everything that ``convbench check`` asks of a side's convbench, under one protocol number.

A worker runs in the tree of base or head, and of that side's convbench it imports only this module. Whatever else is
renamed, two versions can be compared as long as their ``PROTOCOL`` is the same. Raise it with every change of a
function's arguments, results or meaning. Only plain data that JSON can hold goes over the channel.

Workers use a ``Subject``'s ``device``, ``dtype``, ``forward`` and ``run()``, and replace its ``forward`` as that of a
dataclass; the result of a training step's ``run`` has ``gradients``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from pydantic import TypeAdapter

from convbench.core import findings as codes
from convbench.core import metrics
from convbench.core.comparability import fingerprint
from convbench.core.errors import CaseFailed
from convbench.core.package import __version__
from convbench.core.record import Case, Finding, Protocol, Reading, Scalar, Whole
from convbench.core.registry import probes
from convbench.core.traits import compiles, own_process
from convbench.measure import attempts, harness
from convbench.measure.comparison import leeway
from convbench.measure.comparison.agreement import tolerance
from convbench.measure.comparison.first_call import open_case
from convbench.measure.machine import environment, nvml
from convbench.measure.planning import plan as plan_of
from convbench.measure.preflight import resolve
from convbench.models import variants
from convbench.models.subject import Subject, assemble, transform
from convbench.suite import load
from convbench.suite.selection import Selection

PROTOCOL = 1
VERSION = __version__


def describe(device: str) -> dict[str, Any]:
    """Return the ``facts`` of the machine and software for measuring on a device, and their ``fingerprint``."""
    facts = environment.describe(device)
    return {"facts": facts, "fingerprint": fingerprint(facts)}


def plan(suite: str, overrides: Sequence[str], device: str, only: Sequence[str], skip: Sequence[str]) -> dict[str, Any]:
    """Return the suite's ``name``, its ``cases`` on a device, each once, and the ``protocol``.

    Each case has its ``id``, the ``case``, and whether it needs a process of its own (``alone``).
    """
    case_suite, facts = load(suite, overrides), environment.describe(device)
    selection = Selection(only, skip)
    case_plan = plan_of(case_suite, str(facts["device"]), environment.available_bytes(facts), selection)
    cases = [{"id": case.id, "case": asdict(case), "alone": own_process(case)} for case in case_plan.cases]
    return {"name": case_suite.name, "cases": cases, "protocol": asdict(case_suite.protocol)}


def read(described: Any) -> Case:
    """Return the case that a plan describes, as this convbench reads it."""
    return TypeAdapter(Case).validate_python(described)


def resolved(described: Any) -> Case:
    """Return the case as this convbench can build it. Raises ConvbenchError if it cannot."""
    return resolve(read(described))


def variables(case: Case) -> dict[str, str]:
    """Environment variables with which the case's process must be started."""
    return variants.process_environment(case)


def subject(case: Case, seed: int) -> Subject:
    """Return the case's subject, ready to be called on its device, with its variants applied."""
    _stay_on(case.device)
    return transform(assemble(case, seed))


def compared(case: Case, seed: int) -> tuple[Subject, float]:
    """Return the subject after a first call, and how far two sides' outputs may differ, relative.

    Raises CaseFailed if its output is not eager's; a random output must be as near to it as chance allows.
    """
    _stay_on(case.device)
    case_subject, _ = open_case(case, seed)
    return case_subject, tolerance(case_subject)


def other_weights(case: Case, seed: int) -> str:
    """Return why no outputs can be compared if models of one seed have different weights, else an empty text."""
    return leeway.other_weights(partial(assemble, case.eager, seed))


def _stay_on(device: str) -> None:
    """Make a GPU that is given by its number the current one: the worker times the subject afterwards."""
    torch_device = torch.device(device)
    if torch_device.type == "cuda" and torch_device.index is not None:
        torch.cuda.set_device(torch_device)


def counts(case: Case, seed: int) -> dict[str, Scalar]:
    """Parameters, MACs, FLOPs, graph breaks and predicted peak memory in bytes, as far as they are known.

    ``not counted`` is what the MACs leave out: the operators that no counter knows, or why there are no MACs.
    ``memory`` is whether the peak is predicted, or why it is not.
    """
    _stay_on(case.device)
    if isinstance(case.architecture, Whole):  # a real call before one on meta, as in ``harness``
        with suppress(Exception):
            assemble(case.eager, seed).run()
    protocol = Protocol(seed=seed)
    record = harness.measure(case, protocol, ("params", "macs"))
    readings = list(record.readings)
    if compiles(case):  # other models need not be built on meta: a traced or quantised one cannot
        results = probes.get("compile").build(assemble(case, seed, device="meta"), protocol)
        readings += [result for result in results if isinstance(result, Reading)]
    facts: dict[str, Scalar] = {reading.metric.name: reading.samples[0] for reading in readings}
    facts["not counted"] = "; ".join(_omissions(record.findings)) or "nothing"
    from convbench.measure.memory.prediction import predict

    try:
        facts |= {metrics.PREDICTED.name: predict(case).peak, "memory": "predicted"}
    except CaseFailed as error:
        facts["memory"] = str(error)
    return facts


def _omissions(findings: Iterable[Finding]) -> Iterator[str]:
    for finding in findings:
        match finding.code, finding.data:
            case codes.UNCOUNTED_OPERATORS, {"operators": tuple(operators)}:
                yield ", ".join(operators)
            case codes.NOT_COUNTED, {"reason": reason}:
                yield str(reason)


def throttling(device: str) -> str:
    """The reasons why a GPU's clocks are held back at this moment."""
    return str(nvml.state(torch.device(device)).get("throttle_reasons"))


def explain(error: BaseException) -> tuple[str, str]:
    """Explain what went wrong, in a word and a sentence."""
    failure = attempts.explain(error)
    return failure.kind, failure.message
