"""Run the probes of one case, each at its moment: on shapes, on the device, or after everything that is timed.

A case on ``meta`` tells shapes and no times. The device's probes time the model: between the first call and the last
of them nothing else runs, except for what looks at the model without calling it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import torch

from convbench.core.errors import CaseFailed
from convbench.core.findings import NOT_ON_META, SLOW_ON_META
from convbench.core.record import Case, Finding, Protocol, Reading, Scalar, Whole
from convbench.core.scales import gib
from convbench.core.traits import FP32
from convbench.measure import attempts, progress
from convbench.measure.comparison.first_call import Opening
from convbench.measure.counts.counted import SECONDS_ON_META, SLOW, after_call, on_meta_or_reason
from convbench.measure.machine import environment
from convbench.measure.probes import Probe, probe_name, results_of, traits_of
from convbench.models.subject import Subject, assemble
from convbench.models.weights import weights_bytes

Results = list[Reading | Finding]


def probe_results(
    case: Case,
    protocol: Protocol,
    selection: Sequence[Probe],
    last_probes: Sequence[Probe],
    open_subject: Callable[[], tuple[Subject, Opening]],
) -> tuple[Results, dict[str, Scalar]]:
    """Run static probes on ``meta``, and the others on the case's device; return also the conditions of these.

    A user's whole model has a real call before one on ``meta``, so that tensors which its code keeps between calls are
    real.
    """
    static_probes = [probe for probe in selection if traits_of(probe).static]
    device_probes = [*(probe for probe in selection if not traits_of(probe).static), *last_probes]
    shapes = _Shapes(case, protocol, static_probes, SECONDS_ON_META if device_probes else math.inf)
    if not device_probes:
        shapes.build()
        return [*shapes.before(), *shapes.after()], shapes.number_type
    early_results: Results = []
    calls_first = isinstance(case.architecture, Whole) and bool(static_probes)
    if calls_first:
        _refuse_too_large(_build_on_meta(case, protocol.seed))
    else:
        shapes.build()
        _refuse_too_large(shapes.twin)
        early_results = shapes.before()
    start_gpu(case.device)
    progress.tell("building the model and its first call", [])
    try:
        subject, opening = open_subject()
    finally:  # results from shapes remain if the real call fails
        if calls_first:
            shapes.build()
            early_results = shapes.before()
    start = environment.conditions(subject.device)
    results = [*early_results, *opening, *shapes.beside(subject), *_run(device_probes, subject, protocol)]
    state = conditions(start, environment.conditions(subject.device)) | _number_type(subject)
    return [*results, *shapes.after()], state


class _Shapes:
    """The static probes of a case, and its ``twin`` on ``meta``: a subject, or why the case does not run there.

    If it does not, they look at a real model that was called, after everything is timed. Passive ones, which call
    nothing, then look at the timed model at once, so that a time limit leaves their results.
    """

    twin: Subject | str | None = None

    def __init__(self, case: Case, protocol: Protocol, selection: Sequence[Probe], seconds: float) -> None:
        self.case, self.protocol, self.seconds = case, protocol, seconds
        self.waiting = list(selection)
        self.number_type: dict[str, Scalar] = {}

    def build(self) -> None:
        """Make the twin, if a probe needs it."""
        if self.waiting:
            self.twin = on_meta_or_reason(self.case, self.protocol.seed, self.seconds)

    def before(self) -> Results:
        """Run the probes on the twin, except for late ones."""
        return self._run_on_twin(late=False)

    def beside(self, subject: Subject) -> Results:
        """Run passive probes on the model that is timed, if there is no twin and the model is eager's."""
        if not isinstance(self.twin, str) or self.case.variant:
            return []
        passive_probes = [probe for probe in self.waiting if traits_of(probe).passive]
        self.waiting = [probe for probe in self.waiting if probe not in passive_probes]
        return _run(passive_probes, subject, self.protocol)

    def after(self) -> Results:
        """Run late probes on the twin; without a twin, run all that wait on a real model."""
        if not isinstance(self.twin, str):
            return self._run_on_twin(late=True)
        is_slow = self.twin == SLOW
        note = Finding(SLOW_ON_META, "note") if is_slow else Finding(NOT_ON_META, "note", {"reason": self.twin})
        eager = after_call(assemble(self.case, self.protocol.seed))
        results = _run(self.waiting, eager, self.protocol)
        self.number_type = _number_type(eager)
        return [note, *results]

    def _run_on_twin(self, *, late: bool) -> Results:
        if not isinstance(self.twin, Subject):
            return []
        self.number_type = _number_type(self.twin)
        return _run((probe for probe in self.waiting if traits_of(probe).late is late), self.twin, self.protocol)


def _run(selection: Iterable[Probe], subject: Subject, protocol: Protocol) -> Results:
    results: Results = []
    for probe in selection:
        progress.tell(f"the probe {probe_name(probe)}", [])
        probe_results = results_of(probe, subject, protocol)
        progress.tell("", probe_results)
        results += probe_results
    return results


def start_gpu(device: str) -> None:
    """Start CUDA for a case on a GPU. Raises CaseFailed if the GPU has gone since its host was described."""
    if torch.device(device).type != "cuda":
        return
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        if failure := attempts.without_gpu(device, error):
            raise failure from error
        raise


def _number_type(subject: Subject) -> dict[str, Scalar]:
    """The number type of a model that is not in float32, for its record."""
    return {"dtype": subject.number_type} if subject.number_type != FP32 else {}


def _build_on_meta(case: Case, seed: int) -> Subject | None:
    """The case on ``meta``, not called; None if it cannot be built there."""
    with suppress(Exception):
        return assemble(case, seed, device="meta")
    return None


def _refuse_too_large(twin: Subject | str | None) -> None:
    """Raise CaseFailed if weights and inputs alone need more memory than is free, for a case on a CPU."""
    if not isinstance(twin, Subject):
        return
    needed_bytes = weights_bytes(twin.model) + twin.inputs.bytes
    if twin.case.device == "cpu" and needed_bytes > (free_bytes := environment.available_memory()):
        raise CaseFailed(
            "out of memory",
            f"needs at least {gib(needed_bytes)} for weights and inputs, and {gib(free_bytes)} are free",
        )


def conditions(start: dict[str, Scalar], end: dict[str, Scalar]) -> dict[str, Scalar]:
    """Return the state at the start, with threads and allocator of the end, and counters as differences."""
    counters = {
        name: end[name] - start[name]  # type: ignore[operator]
        for name in ("involuntary_switches", "steal_s")
        if start.get(name) is not None
    }
    return start | {"threads": end["threads"], "allocator": end["allocator"]} | counters
