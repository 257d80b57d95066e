"""Count MACs a second, independent way: find where the counts differ and where the MACs vary from call to call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from convbench.core import metrics
from convbench.core.findings import COUNTED_ONCE, COUNTS_DISAGREE, RANDOM_WORK, UNCOUNTED_OPERATORS, UNEVEN_WORK
from convbench.core.record import Case, Finding, Protocol, Reading
from convbench.core.registry import declares, probes
from convbench.measure.counts import dispatched
from convbench.measure.counts.counted import (
    NotCounted,
    after_call,
    count_forward,
    forward_twin,
    is_counted_as_called,
    raise_not_counted,
    reason_of,
)
from convbench.measure.counts.traced import trace as traced_counts
from convbench.measure.probes import ProbeTraits
from convbench.models import network
from convbench.models.subject import Subject, assemble_forward

DRAWS, SECONDS = 4, 2.0
"""Calls with other random numbers, to see whether the MACs depend on them; none starts after this many seconds."""


@probes.register("crosscheck")
@declares(ProbeTraits(exact=True, order=80))
def crosscheck(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Additions of a call, and a second count of MACs by stage, from a trace: reports where the counts differ.

    The traced model is not timed. Of a training step only the forward pass is traced.
    """
    try:
        counts = count_forward(subject.case, protocol.seed)
    except NotCounted:
        return  # the probe ``macs`` reports this
    variation = _variation(subject.case, protocol.seed, counts.total) if is_counted_as_called(subject.case) else None
    if variation:
        yield variation
    try:
        trace = traced_counts(after_call(assemble_forward(subject.case, protocol.seed)))
    except Exception as error:
        yield Finding(COUNTED_ONCE, data={"reason": reason_of(error)})
        return
    for stage, macs in counts.macs.items():
        if macs != trace.macs[stage] and not variation:
            yield Finding(COUNTS_DISAGREE, data={"stage": stage, "meta": macs, "traced": trace.macs[stage]})
    if trace.unknown_operators and not counts.unknown_operators:
        yield Finding(UNCOUNTED_OPERATORS, data={"operators": trace.unknown_operators, "share": 0.0})
    yield Reading(metrics.ADDS, (trace.adds,))


def _variation(case: Case, seed: int, macs: int) -> Finding | None:
    """Return the finding that a forward pass takes another number of MACs by chance or in a later call, if it does."""
    with suppress(NotCounted):
        return next((finding for finding in _recounts(case, seed, macs) if finding.data["other"] != macs), None)
    return None


def _recounts(case: Case, seed: int, macs: int) -> Iterator[Finding]:
    """Yield the MACs of the same call of the same model on the same clip, each time with other random numbers.

    Then yield the MACs of later calls: of one call, or of as many as a clip has frames if the case streams.
    """
    end, twin = time.monotonic() + SECONDS, None
    for draw in range(1, DRAWS + 1):
        if time.monotonic() > end:
            return
        twin = None  # never two twins beside the case's own model
        with raise_not_counted():
            twin = after_call(forward_twin(case, seed))
            network.seed_all(seed + draw)
            counts = dispatched.count(twin)
        yield Finding(RANDOM_WORK, "note", {"macs": macs, "other": counts.total})
    for _ in range(case.clip.frames if case.streams else 1):
        if twin is None or time.monotonic() > end:
            return
        with raise_not_counted():
            counts = dispatched.count(twin)
        yield Finding(UNEVEN_WORK, "note", {"macs": macs, "other": counts.total})
