"""The shelf of probes: (Subject, Protocol) -> readings and findings. One file per probe.

A static probe is given a subject on ``meta`` and needs no isolation: it costs milliseconds. The others are given the
subject on its device, ready and called once; all run in their order, static ones first but for late ones. What a probe
is it declares as any plug-in does, ``@declares(ProbeTraits(...))``; ``@static`` and so on say one trait each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from convbench.core.errors import ConvbenchError
from convbench.core.metrics import refuse_clash
from convbench.core.record import Finding, Protocol, Reading
from convbench.core.registry import DECLARED, declares
from convbench.core.text import shown

if TYPE_CHECKING:
    from convbench.models.subject import Subject

Probe = Callable[["Subject", Protocol], Iterable[Reading | Finding]]
CONTRACT = "a probe has to yield readings and findings"


@dataclass(frozen=True, slots=True)
class ProbeTraits:
    """What a probe is.

    - ``static``: it looks at the model on ``meta`` only
    - ``passive``: beside ``static``: it calls nothing, it only looks at the model, which must have been called once
    - ``late``: beside ``static``: it may take long, and runs when all else is known
    - ``exact``: it takes no times: what it tells is the same on a busy machine, beside other work
    - ``order``: probes run from the lowest to the highest; what says nothing runs after convbench's own
    - ``includes``: probes that are left out where this one runs, since it tells the same
    """

    static: bool = False
    passive: bool = False
    late: bool = False
    exact: bool = False
    order: int = sys.maxsize
    includes: tuple[str, ...] = ()


def traits_of(probe: Probe) -> ProbeTraits:
    """What a probe declares."""
    traits = getattr(probe, DECLARED, None)
    return traits if isinstance(traits, ProbeTraits) else ProbeTraits()


def static(probe: Probe) -> Probe:
    """Decorator: the probe looks at the model on ``meta`` only."""
    return _with(probe, static=True)


def passive(probe: Probe) -> Probe:
    """Decorator: the static probe calls nothing, it only looks at the model, which must have been called once."""
    return _with(probe, passive=True)


def late(probe: Probe) -> Probe:
    """Decorator: the static probe may take long, and runs when all else is known."""
    return _with(probe, late=True)


def exact(probe: Probe) -> Probe:
    """Decorator: what the probe finds is the same on a busy machine."""
    return _with(probe, exact=True)


def is_exact(probe: Probe) -> bool:
    """Whether a probe takes no times: a static one cannot."""
    return traits_of(probe).exact or traits_of(probe).static


def results_of(probe: Probe, subject: Subject, protocol: Protocol) -> list[Reading | Finding]:
    """What a probe yields, samples as floats. Raises ConvbenchError, in its name, for what is no result."""
    name, results = probe_name(probe), probe(subject, protocol)
    if not isinstance(results, Iterable):
        raise ConvbenchError(f"the probe {name} returned {shown(results)}: {CONTRACT}")
    return [_check(name, result) for result in results]


def _check(name: str, result: object) -> Reading | Finding:
    if isinstance(result, Finding):
        return result
    if not isinstance(result, Reading):
        raise ConvbenchError(f"the probe {name} yielded {shown(result)}: {CONTRACT}")
    refuse_clash(result.metric)
    try:
        return replace(result, samples=tuple(map(float, result.samples)))
    except (TypeError, ValueError) as error:
        samples = f"the samples of {result.metric.name}, {shown(result.samples)},"
        raise ConvbenchError(f"the probe {name}: {samples} are no tuple of numbers, as (3.0,) is") from error


def probe_name(probe: Probe) -> str:
    """What people know a probe by: the name of its function, or of its class."""
    return str(getattr(probe, "__name__", type(probe).__name__)).strip("_")


def _with(probe: Probe, **traits: Any) -> Probe:
    return declares(replace(traits_of(probe), **traits))(probe)
