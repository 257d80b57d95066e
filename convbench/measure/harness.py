"""Measure one case and return its Record. ``attempts`` turns errors into failed Records."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from convbench.core.errors import ConvbenchError
from convbench.core.record import Case, Finding, Protocol, Reading, Record, timestamp
from convbench.core.registry import Plugin, did_you_mean, probes
from convbench.core.traits import notes_of
from convbench.measure import probing
from convbench.measure.comparison.first_call import open_case
from convbench.measure.counts.counted import forget_counts
from convbench.measure.machine import environment
from convbench.measure.probes import Probe, traits_of
from convbench.measure.quality.trial import trial
from convbench.models.network import preserve_random_state
from convbench.models.subject import current_device, forget_refusals


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
        probing.start_gpu(case.device)
        with current_device(case.device):
            before, results = environment.conditions(case.device), list(trial(case, protocol))
            state = probing.conditions(before, environment.conditions(case.device))
    else:
        with computing_with(case):
            open_subject = partial(open_case, case, protocol.seed, checked=checked)
            selection = [plugin.build for plugin in select(metrics)]
            results, state = probing.probe_results(case, protocol, selection, last_probes, open_subject)
    return Record(
        case,
        "ok",
        tuple(result for result in results if isinstance(result, Reading)),
        tuple(result for result in results if isinstance(result, Finding)),
        conditions=state | notes_of(case),
        started=date,
        seconds=time.perf_counter() - start,
    )


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
