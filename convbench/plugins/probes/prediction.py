"""The peak memory that shapes alone predict, to compare with the measured peak."""

from __future__ import annotations

from collections.abc import Iterator

from convbench.core import metrics
from convbench.core.errors import CaseFailed
from convbench.core.findings import NOT_PREDICTED, PREDICTED_AT_FULL_LENGTH
from convbench.core.record import Finding, Protocol, Reading
from convbench.core.registry import declares, probes
from convbench.core.traits import opaque
from convbench.measure.memory.prediction import predict
from convbench.measure.probes import ProbeTraits
from convbench.models.subject import Subject

SHARE = 0.25
"""Share of a case's time limit that its prediction may take: it is the least important result."""


@probes.register("prediction")
@declares(ProbeTraits(static=True, late=True, order=100))
def prediction(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Predicted peak of tensor bytes, exact except for libraries' internal memory; not for compilers and runtimes."""
    if opaque(subject.case):
        return
    predict.cache_clear()  # the code behind a name may have changed
    try:
        result = predict(subject.case, SHARE * protocol.timeout)
        yield Reading(metrics.PREDICTED, (result.peak,))
        if result.at_full_length:
            yield Finding(PREDICTED_AT_FULL_LENGTH, "note")
    except CaseFailed as error:
        yield Finding(NOT_PREDICTED, "note", {"reason": str(error)})
