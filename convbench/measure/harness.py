"""Measure one case and return its Record. ``attempts`` turns errors into failed Records."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import torch

from convbench.core.errors import CaseFailed, ConvbenchError
from convbench.core.findings import NOT_ON_META, SLOW_ON_META
from convbench.core.record import Case, Finding, Protocol, Reading, Record, Scalar, Whole, timestamp
from convbench.core.registry import Plugin, did_you_mean, probes
from convbench.core.scales import gib
from convbench.core.traits import FP32, notes_of
from convbench.measure import attempts, progress
from convbench.measure.comparison.first_call import Opening, open_case
from convbench.measure.counts.counted import SECONDS_ON_META, SLOW, after_call, forget_counts, on_meta_or_reason
from convbench.measure.machine import environment
from convbench.measure.probes import Probe, probe_name, results_of, traits_of
from convbench.measure.quality.trial import trial
from convbench.models.network import preserve_random_state
from convbench.models.subject import Subject, assemble, current_device, forget_refusals
from convbench.models.weights import weights_bytes

Results = tuple[list[Reading | Finding], dict[str, Scalar]]


@preserve_random_state()
def measure(
    case: Case,
    protocol: Protocol,
    metrics: Sequence[str] = (),
    last_probes: Sequence[Probe] = (),
    *,
    checked: bool = False,
) -> Record:
    """Measure one case in this process with the probes named by ``metrics``, or with all probes if none is named.

    A case with a trial is tried on its task instead. ``last_probes`` run after the others. A case that was ``checked``
    by another visit is not compared with eager again.

    Raises CaseFailed for a wrong output, Unavailable if this machine lacks a requirement, or whatever the model raises.
    """
    start, date = time.perf_counter(), timestamp()
    forget_counts()
    forget_refusals()
    if case.trial:
        _start_gpu(case.device)
        with current_device(case.device):
            before, results = environment.conditions(case.device), list(trial(case, protocol))
            state = _conditions(before, environment.conditions(case.device))
    else:
        with computing_with(case):
            open_subject = partial(open_case, case, protocol.seed, checked=checked)
            selection = [plugin.build for plugin in select(metrics)]
            results, state = _probe_results(case, protocol, selection, last_probes, open_subject)
    return Record(
        case,
        "ok",
        tuple(result for result in results if isinstance(result, Reading)),
        tuple(result for result in results if isinstance(result, Finding)),
        conditions=state | notes_of(case),
        started=date,
        seconds=time.perf_counter() - start,
    )


def _probe_results(
    case: Case,
    protocol: Protocol,
    selection: Sequence[Probe],
    last_probes: Sequence[Probe],
    open_subject: Callable[[], tuple[Subject, Opening]],
) -> Results:
    """Run static probes on ``meta``, and dynamic ones on the case's device.

    If the model does not run on ``meta``, static probes follow a real call, after everything is timed. Passive ones,
    which call nothing, then look at the timed model at once, so that a time limit leaves their results. A user's whole
    model has a real call before one on ``meta``, so that tensors which its code keeps between calls are real.
    """
    static_probes = [probe for probe in selection if traits_of(probe).static]
    late_probes = [probe for probe in selection if traits_of(probe).late]
    dynamic_probes = [*(probe for probe in selection if not traits_of(probe).static), *last_probes]
    early_probes = [probe for probe in static_probes if probe not in late_probes]
    on_meta = partial(on_meta_or_reason, case, protocol.seed, SECONDS_ON_META if dynamic_probes else math.inf)
    calls_first = isinstance(case.architecture, Whole) and bool(dynamic_probes and static_probes)
    results: list[Reading | Finding] = []
    twin = on_meta() if static_probes and not calls_first else None
    if dynamic_probes:
        _refuse_too_large(_build_on_meta(case, protocol.seed) if calls_first else twin)
    state: dict[str, Scalar] = {}
    if isinstance(twin, Subject):
        results, state = _probe(early_probes, twin, protocol), _number_type(twin)
    if dynamic_probes:
        _start_gpu(case.device)
        progress.tell("building the model and its first call", [])
        try:
            subject, opening = open_subject()
        finally:  # results from shapes remain if the real call fails
            if calls_first and isinstance(twin := on_meta(), Subject):
                results = _probe(early_probes, twin, protocol)
        start = environment.conditions(subject.device)
        if isinstance(twin, str) and not case.variant:
            passive_probes = [probe for probe in selection if traits_of(probe).passive]
            static_probes = [probe for probe in static_probes if probe not in passive_probes]
            opening += _probe(passive_probes, subject, protocol)
        results += [*opening, *_probe(dynamic_probes, subject, protocol)]
        state = _conditions(start, environment.conditions(subject.device)) | _number_type(subject)
    if isinstance(twin, Subject):
        results += _probe(late_probes, twin, protocol)
    elif isinstance(twin, str):
        results.append(
            Finding(SLOW_ON_META, "note") if twin == SLOW else Finding(NOT_ON_META, "note", {"reason": twin})
        )
        eager = after_call(assemble(case, protocol.seed))
        results += _probe(static_probes, eager, protocol)
        state = state or _number_type(eager)
    return results, state


def _start_gpu(device: str) -> None:
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


@contextmanager
def computing_with(case: Case) -> Iterator[None]:
    """While entered, torch uses as many CPU threads as the case asks for, by default one.

    For a case on a GPU, that GPU is the current one.
    """
    threads = torch.get_num_threads()
    if case.device == "cpu":
        torch.set_num_threads(case.threads if isinstance(case.threads, int) else 1)
    try:
        with current_device(case.device):
            yield
    finally:
        torch.set_num_threads(threads)


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


def select(metrics: Sequence[str]) -> list[Plugin]:
    """Return the probes of these names or import paths in running order. Raises ConvbenchError for an unknown name."""
    plugin_by_name = {plugin.name: plugin for plugin in probes}
    for name in metrics:
        if name not in plugin_by_name and ":" not in name:
            raise ConvbenchError(f"unknown metric {name!r}{did_you_mean(name, plugin_by_name)}")
    plugins = [plugin_by_name.get(name) or probes.get(name) for name in (metrics or plugin_by_name)]
    included_names = {name for plugin in plugins for name in traits_of(plugin.build).includes}
    selection = [plugin for plugin in plugins if plugin.name not in included_names]
    return sorted(selection, key=lambda plugin: traits_of(plugin.build).order)


def needs_isolation(metrics: Sequence[str]) -> bool:
    """Whether any of these metrics runs the model; static probes take milliseconds in this process."""
    return not all(traits_of(plugin.build).static for plugin in select(metrics))


def _probe(selection: Iterable[Probe], subject: Subject, protocol: Protocol) -> list[Reading | Finding]:
    results: list[Reading | Finding] = []
    for probe in selection:
        progress.tell(f"the probe {probe_name(probe)}", [])
        probe_results = results_of(probe, subject, protocol)
        progress.tell("", probe_results)
        results += probe_results
    return results


def _conditions(start: dict[str, Scalar], end: dict[str, Scalar]) -> dict[str, Scalar]:
    """Return the state at the start, with threads and allocator of the end, and counters as differences."""
    counters = {
        name: end[name] - start[name]  # type: ignore[operator]
        for name in ("involuntary_switches", "steal_s")
        if start.get(name) is not None
    }
    return start | {"threads": end["threads"], "allocator": end["allocator"]} | counters
