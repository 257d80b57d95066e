"""The shelf of probes: (Subject, Protocol) -> readings and findings. One file per probe.

A ``@static`` probe is given a subject on ``meta`` and needs no isolation: it costs milliseconds. The others are given
the subject on its device, ready and called once; all run in ORDER, static ones first but for ``@late`` ones.
An ``@exact`` probe takes no times: it may run while other cases are worked on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from convbench.core.record import Finding, Protocol, Reading

if TYPE_CHECKING:
    from convbench.models.subject import Subject

Probe = Callable[["Subject", Protocol], Iterable[Reading | Finding]]
ORDER = ("params", "macs", "latency", "stages", "phases", "memory", "reference", "crosscheck", "compile", "prediction")
"""Of convbench's own; those of others come after them."""
_STATIC: set[Probe] = set()
_EXACT: set[Probe] = set()
_PASSIVE: set[Probe] = set()
_LATE: set[Probe] = set()


def static(probe: Probe) -> Probe:
    """Decorator: the probe looks at the model on ``meta`` only."""
    _STATIC.add(probe)
    return probe


def passive(probe: Probe) -> Probe:
    """Decorator: the static probe calls nothing, it only looks at the model, which must have been called once."""
    _PASSIVE.add(probe)
    return probe


def is_passive(probe: Probe) -> bool:
    return probe in _PASSIVE


def late(probe: Probe) -> Probe:
    """Decorator: the static probe may take long, and runs when all else is known."""
    _LATE.add(probe)
    return probe


def is_late(probe: Probe) -> bool:
    return probe in _LATE


def probe_name(probe: Probe) -> str:
    """What people know a probe by: the name of its function, or of its class."""
    return str(getattr(probe, "__name__", type(probe).__name__)).strip("_")


def is_static(probe: Probe) -> bool:
    return probe in _STATIC


def exact(probe: Probe) -> Probe:
    """Decorator: what the probe finds is the same on a busy machine."""
    _EXACT.add(probe)
    return probe


def is_exact(probe: Probe) -> bool:
    return probe in _EXACT or is_static(probe)
