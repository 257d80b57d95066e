"""The shelf of probes: (Subject, Protocol) -> readings and findings. One file per probe.

A static probe receives a subject on ``meta`` and needs no isolation: it takes milliseconds. The others receive the
subject on its device, ready and called once. All run in their order, static ones first, except for late ones. A probe
declares its traits like any plug-in, with ``@declares(ProbeTraits(...))``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from convbench.core.errors import ConvbenchError, line_of
from convbench.core.metric import Metric
from convbench.core.metrics import refuse_clash
from convbench.core.record import Finding, Protocol, Reading
from convbench.core.registry import DECLARED, probes
from convbench.core.storage.json_form import Storable, as_stored, reason
from convbench.core.text import value_text

if TYPE_CHECKING:
    from convbench.models.subject import Subject

Probe = Callable[["Subject", Protocol], Iterable[Reading | Finding]]
CONTRACT = "a probe has to yield readings and findings"


@dataclass(frozen=True, slots=True)
class ProbeTraits:
    """The traits of a probe.

    - ``static``: it only looks at the model on ``meta``
    - ``passive``: a static probe that calls nothing: it only looks at the model, which must have been called once
    - ``late``: a static probe that may take long, and that runs after all others
    - ``exact``: it takes no times: its results are the same on a busy machine, beside other work
    - ``order``: probes run from the lowest to the highest; without an order they run after convbench's own
    - ``includes``: probes that are left out if this one runs, because it yields the same results
    """

    static: bool = False
    passive: bool = False
    late: bool = False
    exact: bool = False
    order: int = sys.maxsize
    includes: tuple[str, ...] = ()


def traits_of(probe: Probe) -> ProbeTraits:
    """The traits that a probe declares."""
    traits = getattr(probe, DECLARED, None)
    return traits if isinstance(traits, ProbeTraits) else ProbeTraits()


def is_exact(probe: Probe) -> bool:
    """Whether a probe takes no times; a static one cannot."""
    return traits_of(probe).exact or traits_of(probe).static


def results_of(probe: Probe, subject: Subject, protocol: Protocol) -> list[Reading | Finding]:
    """Return a probe's results, with samples as floats. Raises ConvbenchError, naming the probe, for others."""
    name, results = probe_name(probe), probe(subject, protocol)
    if not isinstance(results, Iterable):
        raise ConvbenchError(f"the probe {name} returned {value_text(results)}: {CONTRACT}")
    return [_check(name, result) for result in results]


def _check(name: str, result: object) -> Reading | Finding:
    if isinstance(result, Finding):
        return _storable(name, result)
    if not isinstance(result, Reading):
        raise ConvbenchError(f"the probe {name} yielded {value_text(result)}: {CONTRACT}")
    metric: object = result.metric
    if not isinstance(metric, Metric):
        remedy = "declare a Metric with its name and unit"
        raise ConvbenchError(f"the probe {name} yielded a reading of {value_text(metric)}: {remedy}")
    _storable(name, result.metric)
    refuse_clash(result.metric)
    try:
        samples = tuple(map(float, result.samples))
    except (TypeError, ValueError) as error:
        words = f"the samples of {result.metric.name}, {value_text(result.samples)},"
        raise ConvbenchError(f"the probe {name}: {words} are not a tuple of numbers, such as (3.0,)") from error
    if result.metric.number == "exact" and samples and min(samples) < max(samples):
        words = f"the samples of {result.metric.name}, {value_text(samples)}, differ"
        raise ConvbenchError(
            f'the probe {name}: {words}, but its metric has number="exact": yield one, or declare "median"'
        )
    return replace(result, samples=samples)


def _storable(name: str, value: Storable) -> Storable:
    """Return a value as it is stored. Raises ConvbenchError, as one wrong field would make the run unreadable."""
    try:
        return as_stored(value)
    except ValueError as error:
        problem = reason(error) if isinstance(error, ValidationError) else line_of(error)
        raise ConvbenchError(f"the probe {name}: {value_text(value)} cannot be stored: {problem}") from error


def probe_name(probe: Probe) -> str:
    """The name of a probe for people: that on its shelf, or that of its function or class."""
    names = (plugin.name for plugin in probes.registered() if plugin.build is probe)
    return next(names, str(getattr(probe, "__name__", type(probe).__name__)).strip("_"))
