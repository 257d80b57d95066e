"""What is measured (Case, from ``core.case``), how (Protocol) and the result (Record).

All classes are frozen, typed, hashable, and need only the standard library. Values are in base units (s, B, FLOP); raw
samples are kept, and medians, intervals and rates are derived from them later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from typing import ClassVar, Literal

from convbench.core.case import EAGER, STAGES, Case, Choice, Clip, Features, Parts, Recurrent, Scalar, Trial, Whole
from convbench.core.errors import FailureKind
from convbench.core.metric import Metric
from convbench.core.text import counted

__all__ = [
    "EAGER", "FACTS", "SCHEMA_VERSION", "STAGES", "Case", "Choice", "Clip", "Failure", "Features", "Finding", "Metric",
    "Parts", "Protocol", "Reading", "Record", "Recurrent", "RunDescription", "Scalar", "Training", "Trial", "Visit",
    "Whole", "timestamp",
]  # fmt: skip

SCHEMA_VERSION = 1
AS_JSON = {"ser_json_inf_nan": "strings"}
"""Lets pydantic write infinity and NaN, for which JSON has no number, as words that are read as the same number."""
FACTS = -1
"""The round in which every case is built, checked, compiled and counted, several at a time, before any is timed."""


@dataclass(frozen=True, slots=True)
class Training:
    """How a model is trained on a task: by Adam with a cosine schedule, on batches of the case's clip.

    Validation and test accuracy are taken at each of ``checkpoints``, evenly spread over the ``steps``. The first
    ``rate_seeds`` seeds try every learning rate (0: all seeds do), the others the best of them.
    """

    steps: int = 700
    checkpoints: int = 7
    train_clips: int = 4000
    val_clips: int = 500
    test_clips: int = 1000
    rate_seeds: int = 0


@dataclass(frozen=True, slots=True)
class Protocol:
    """How every case of a suite is measured; never part of a case's identity. Times in seconds.

    A case is visited in ``visits`` fresh processes, or more while the answer is open. In each, sampling stops when the
    95 % interval of the median is within ``target`` of it (half width, relative) and at least ``min_samples`` were
    taken, or when ``max_time`` is up. Warm-up ends when two successive windows of medians agree within 2 %, or after
    ``max_warmup``. ``timeout`` is the limit of a visit. ``budget`` is the limit of the whole run; None: what the visits
    need. The defaults are those of a single visit, as ``convbench.measure`` makes it; a suite has defaults of its own,
    for several short ones.
    """

    seed: int = 0
    max_warmup: float = 1.0
    max_time: float = 1.0
    min_samples: int = 20
    target: float = 0.01
    timeout: float = 300.0
    visits: int = 1
    budget: float | None = None
    training: Training = field(default_factory=Training)


@dataclass(frozen=True, slots=True)
class Reading:
    """A metric's raw samples in base units, in the order they were taken; exact metrics have one.

    If the case was visited several times, ``visits`` has the number of samples of each visit.
    """

    metric: Metric
    samples: tuple[float, ...]
    visits: tuple[int, ...] = ()

    def by_visit(self) -> list[tuple[float, ...]]:
        """Return the samples of each visit; all together if visits are unknown."""
        iterator = iter(self.samples)
        return [tuple(islice(iterator, size)) for size in self.visits or (len(self.samples),)]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a reader must know about a result, as data; its words are made where people read it."""

    code: str
    level: Literal["note", "warning"] = "warning"
    data: Mapping[str, Scalar | tuple[str, ...]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a case has no result."""

    kind: FailureKind
    message: str


Cause = Literal["shared-cores", "quota", "other-processes", "host", "slow-machine"]


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What spoilt a visit's times, and by how much.

    ``amount`` is the number of cores that its ``threads`` shared, the container's quota in processors, the share of the
    time that other processes or a virtual machine's host took, or how many times as long the reference workload took.
    """

    cause: Cause
    amount: float
    threads: int = 1


@dataclass(frozen=True, slots=True)
class HostGap:
    """By how much the slowest of some hosts of one kind is slower than the fastest: a share and its 95 % interval."""

    hosts: int
    slower: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Visit:
    """One fresh process in which a case was measured, in a round of the run (counted from 0).

    Round -1 is ``FACTS``: it measures everything that may run beside other work, and no latency. ``disturbed`` says
    what spoilt the visit's times, ``failure`` why it has none; a good visit has neither. A ``disturbed`` of an older
    version is a sentence. ``host`` is the host of the
    run that measured, by a name that tells nothing else about it; empty if there is only one. In a merged run it begins
    with a mark of the visit's run.
    """

    round: int
    started: str = ""
    seconds: float = 0.0
    cores: tuple[int, ...] = ()
    disturbed: Disturbance | str = ""
    failure: str = ""
    host: str = ""

    @property
    def is_timed(self) -> bool:
        """Whether the visit's purpose was to take times."""
        return self.round != FACTS

    @property
    def is_sound(self) -> bool:
        return not (self.disturbed or self.failure)


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """One case, measured on one machine in one visit or several.

    ``environment`` is the fingerprint of the machine and software, spelled out in the run's ``run.json``;
    ``conditions`` is the state that may differ from case to case (threads, allocator, load, ...). ``skipped`` means
    that this machine lacks something that the case needs. ``code`` holds the user's own modules that the case imported,
    each with a hash of its content.
    """

    case: Case
    status: Literal["ok", "failed", "skipped"]
    readings: tuple[Reading, ...] = ()
    findings: tuple[Finding, ...] = ()
    failure: Failure | None = None
    environment: str = ""
    conditions: Mapping[str, Scalar] = field(default_factory=dict, hash=False)
    started: str = ""
    seconds: float = 0.0
    code: Mapping[str, str] = field(default_factory=dict, hash=False)
    visits: tuple[Visit, ...] = ()
    schema_version: int = SCHEMA_VERSION
    __pydantic_config__: ClassVar = AS_JSON

    def __repr__(self) -> str:
        return f"Record({self.case.id!r}, {self.status}, {counted(len(self.readings), 'reading')})"

    @property
    def is_measured(self) -> bool:
        """Whether the case succeeded and its times, if any are to be taken, have been."""
        return self.status == "ok" and not self.is_untimed

    @property
    def is_untimed(self) -> bool:
        """Whether only the facts of the case are known yet, and its timed visits are still to come."""
        return self.status == "ok" and bool(self.visits) and not any(visit.is_timed for visit in self.visits)

    def samples(self, metric: str | Metric) -> tuple[float, ...]:
        """Return a metric's samples, in its base unit, without those of disturbed visits; empty if it was not measured.

        A text is the name of a metric: ``latency_s`` has the seconds of each call, ``params`` the number of parameters.
        """
        return tuple(chain.from_iterable(self.by_visit(metric).values()))

    def by_visit(self, metric: str | Metric) -> dict[int, tuple[float, ...]]:
        """Return a metric's samples by the round of their sound visit; all in round 0 if visits are unknown."""
        reading = self.reading(metric)
        if reading is None:
            return {}
        if not reading.visits:
            return {0: reading.samples}
        pairs = zip(self.visits, reading.by_visit(), strict=True)
        return {visit.round: samples for visit, samples in pairs if samples and visit.is_sound}

    def reading(self, metric: str | Metric) -> Reading | None:
        """Return the reading of a metric, or of that name, with its disturbed visits; None if it was not measured."""
        name = metric if isinstance(metric, str) else metric.name
        return next((reading for reading in self.readings if reading.metric.name == name), None)


@dataclass(frozen=True, slots=True)
class RunDescription:
    """What all records of one run share: written once as ``run.json`` before the first measurement.

    ``suite`` is the YAML text as it was run and ``command`` the command line that repeats the run. ``planned`` has the
    ids of the cases to measure; ``equal`` maps a planned id to the ids of the suite that are the same configuration and
    are therefore not measured again, and ``impossible`` the combinations that were left out to the reason. ``later``
    has the trainings that follow the planned ones, each at the learning rate that did best for its model, by their ids
    without a learning rate.

    ``visible_slowdown`` is the smallest relative slowdown that a selftest of the latency gate detected on a machine
    like this; ``intervals_meet`` is the share of cases whose intervals overlapped in two runs of a selftest here. Both
    are None without a selftest.

    A run on several hosts names them in ``hosts``, each with its fingerprint, spells the fingerprints out in
    ``environments``, and has in ``between_hosts`` by how much those of each kind differ, for each
    run that was merged into it; of an older version, these are sentences. A run that was merged, or extended when it
    was resumed, has in ``parts`` the ``merging.identity`` of each run that is wholly in it. A merged run has in
    ``shards`` the shards that it has if others are missing.
    """

    name: str
    command: str
    suite: str
    protocol: Protocol
    metrics: tuple[str, ...]
    planned: tuple[str, ...]
    equal: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    environment: Mapping[str, Scalar] = field(default_factory=dict, hash=False)
    fingerprint: str = ""
    convbench: str = ""
    started: str = ""
    visible_slowdown: float | None = None
    intervals_meet: float | None = None
    hosts: Mapping[str, str] = field(default_factory=dict, hash=False)
    environments: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict, hash=False)
    between_hosts: tuple[tuple[HostGap, ...] | str, ...] | str = ()
    parts: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    impossible: Mapping[str, str] = field(default_factory=dict, hash=False)
    schema_version: int = SCHEMA_VERSION
    __pydantic_config__: ClassVar = AS_JSON

    def open_ids(self, records: Sequence[Record]) -> list[str]:
        """Return the ids of planned cases not measured yet, and of later trainings, planned without a learning rate.

        If this machine skipped every training of a model, its later trainings are not made and not returned.
        """
        trainings = [(record, record.case.at_any_rate.id) for record in records if record.case.trains]
        measured_ids = {record.case.id for record in records if not record.is_untimed}
        measured_ids |= {name for _, name in trainings}
        skipped_models = {_model(name) for record, name in trainings if record.status == "skipped"}
        skipped_models -= {_model(name) for record, name in trainings if record.status != "skipped"}
        later_ids = [name for name in self.later if _model(name) not in skipped_models]
        return [name for name in (*self.planned, *later_ids) if name not in measured_ids]


def _model(name: str) -> tuple[str, str]:
    """Return what identifies the trained model in a training's id: everything but its seed."""
    model, _, seed = name.rpartition("/seed=")
    return model, seed.partition("/")[2]


def timestamp(timespec: str = "milliseconds") -> str:
    """Return the current time as records and runs state when they started."""
    return datetime.now(UTC).isoformat(timespec=timespec)
