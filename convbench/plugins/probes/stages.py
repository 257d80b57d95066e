"""Seconds of a call by stage, from passes that alternate with plain ones, apart from the samples of the latency."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from convbench.core import metrics
from convbench.core.findings import OPAQUE_ENGINE, STAGES_BY_RUNTIME, STAGES_COMPILED, STAGES_DO_NOT_ADD_UP
from convbench.core.record import STAGES, Finding, Protocol, Reading
from convbench.core.registry import declares, probes
from convbench.core.statistics import median_interval
from convbench.core.traits import INDUCTOR, engine, opaque
from convbench.measure.probes import ProbeTraits
from convbench.measure.stages.compiled import compiled_split
from convbench.measure.stages.stopwatch import Split, passes, split_by_hooks
from convbench.measure.timing import Call, Clock, clock_for
from convbench.models.deployment import Deployment
from convbench.models.stages import compiles, stage_roots
from convbench.models.subject import Subject
from convbench.models.training_step import TrainingStep

TOLERANCE = 0.05
MOST_DISTORTION = 1.5
"""Largest ratio of split to plain passes, either way; beyond it the shares are mostly the profiler's own cost."""
MARKS = 1e-4
"""Seconds that the marks of a call may take: a large share of a tiny call, which says nothing about its stages."""
RUNTIME_PASSES = 10
Splitter = Callable[[Subject], Split]


@probes.register("stages")
@declares(ProbeTraits(order=40))
def stages(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Time of backbone, reducer, LSTM, head and training's optimizer; for compiled cases what their trace attributes.

    Plain and split passes alternate. A warning reports that passes with marks differ from plain ones by more than 5 %
    and by more than marks may cost.
    """
    if subject.deployment:
        yield from _runtime_readings(subject, subject.deployment)
        return
    is_compiled, runtime = opaque(subject.case), engine(subject.case)
    if is_compiled and runtime != INDUCTOR:
        yield Finding(OPAQUE_ENGINE, "note", {"engine": runtime})
        return
    optimizer = (metrics.OPTIMIZER,) if isinstance(subject.run, TrainingStep) else ()
    names = (*((metrics.GRAPHS, "lstm") if is_compiled else STAGES), *optimizer, metrics.OTHER)
    plain_seconds, splits = alternate(subject, compiled_split if is_compiled else split_by_hooks, protocol)
    if not is_compiled and (hidden := hidden_stages(subject, splits)):
        names = tuple(stage for stage in names if stage not in hidden)
        yield Finding(STAGES_COMPILED, data={"stages": hidden})
    yield from _readings(names, splits, plain_seconds)


def hidden_stages(subject: Subject, splits: Sequence[Split]) -> tuple[str, ...]:
    """Return the stages that no pass has entered because the user's code compiles them with what surrounds them."""
    if not compiles(subject.model):
        return ()
    entered_stages = set().union(*splits)
    roots = stage_roots(subject.case, subject.model)
    return tuple(stage for stage, modules in roots.items() if modules and stage not in entered_stages)


def _runtime_readings(subject: Subject, deployment: Deployment) -> Iterator[Reading | Finding]:
    """Yield the stages from the runtime's own profile of further calls, or a finding if it makes no profile."""
    clock, plain_seconds = clock_for(subject.device, subject.timed_call), list[float]()
    splits = deployment.profile(RUNTIME_PASSES, lambda: plain_seconds.append(_pass_seconds(clock, subject.timed_call)))
    if splits is None:
        yield Finding(OPAQUE_ENGINE, "note", {"engine": deployment.runtime.name})
        return
    yield Finding(STAGES_BY_RUNTIME, "note", {"engine": deployment.runtime.name})
    yield from _readings((*STAGES, metrics.OTHER), splits, plain_seconds)


def _readings(
    names: Sequence[str], splits: Sequence[Mapping[str, float]], plain_seconds: list[float]
) -> Iterator[Reading | Finding]:
    """Yield the seconds of each stage, and a warning if they do not add up to those of the plain passes.

    Stages whose sum is more than ``MOST_DISTORTION`` off are withheld.
    """
    sums = [sum(split.get(stage, 0.0) for stage in names) for split in splits]
    total, whole = median(sums), median(plain_seconds)
    is_sum = adds_up(sums, plain_seconds)
    is_withheld = not is_sum and not whole / MOST_DISTORTION <= total <= whole * MOST_DISTORTION
    if not is_withheld:
        for stage in names:
            yield Reading(metrics.LATENCY.part(stage), tuple(split.get(stage, 0.0) for split in splits))
    if not is_sum:
        yield Finding(STAGES_DO_NOT_ADD_UP, data={"stages": total, "whole": whole, "withheld": is_withheld})


def adds_up(sums: list[float], plain_seconds: list[float]) -> bool:
    """Whether passes with marks take as long as plain ones, within 5 % or what the marks may cost."""
    difference = median_interval([total - seconds for total, seconds in zip(sums, plain_seconds, strict=True)])
    tolerance = max(TOLERANCE * median(plain_seconds), MARKS)
    return difference.low <= tolerance and difference.high >= -tolerance


def alternate(subject: Subject, splitter: Splitter, protocol: Protocol) -> tuple[list[float], list[Split]]:
    """Return the seconds of plain passes, and the splits of as many passes with marks, one right after each."""
    clock, plain_seconds, splits = clock_for(subject.device, subject.run), list[float](), list[Split]()
    splitter(subject)
    gc.collect()  # else garbage of the marks starts a collection during a pass, which scans new imports too
    for _ in passes(protocol):
        plain_seconds.append(_pass_seconds(clock, subject.run))
        splits.append(splitter(subject))
    return plain_seconds, splits


def _pass_seconds(clock: Clock, call: Call) -> float:
    sample = clock.time(call)
    return sample.host if sample.device is None else sample.device
