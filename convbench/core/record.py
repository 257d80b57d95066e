"""The nouns: what is measured (Case), how (Protocol) and what came out (Record).

Frozen, typed, standard library only: everything that meets, meets here. Values are in base units (s, B, FLOP);
raw samples are kept, and medians, intervals and rates are derived from them later.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Literal, NamedTuple

from convbench.core.errors import FailureKind
from convbench.core.metric import Metric as Metric  # readings are of metrics: a noun of this page too

Scalar = str | int | float | bool | None
SCHEMA_VERSION = 1
FACTS = -1
"""The round in which every case is built, checked, compiled and counted, several at a time, before any is timed."""
STAGES = ("backbone", "reducer", "lstm", "head")


class Features(NamedTuple):
    """Shape of one frame's feature map, (C, H, W)."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


@dataclass(frozen=True, slots=True)
class Choice:
    """A plug-in by its name on a shelf or its import path, with the options that differ from its defaults.

    Written ``gap``, ``avg-k(k=4)`` or ``mypkg.pooling:build(p=3)``.
    """

    name: str
    options: tuple[tuple[str, Scalar], ...] = ()

    def __str__(self) -> str:
        if not self.options:
            return self.name
        words = (f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in self.options)
        return f"{self.name}({','.join(words)})"


@dataclass(frozen=True, slots=True)
class Clip:
    """Shape of the input: (B, T, C, H, W)."""

    batch: int = 1
    frames: int = 16
    channels: int = 3
    height: int = 64
    width: int = 64

    def __str__(self) -> str:
        return "x".join(str(n) for n in (self.batch, self.frames, self.channels, self.height, self.width))


@dataclass(frozen=True, slots=True)
class Recurrent:
    """The recurrent stage, named as torch.nn.LSTM and torch.nn.GRU name it."""

    cell: Literal["lstm", "gru"] = "lstm"
    hidden: int = 128
    layers: int = 1
    bidirectional: bool = False
    proj_size: int = 0

    def __str__(self) -> str:
        layers = f"x{self.layers}" if self.layers > 1 else ""
        projection = f"p{self.proj_size}" if self.proj_size else ""
        return f"{'bi' if self.bidirectional else ''}{self.cell}{self.hidden}{layers}{projection}"


@dataclass(frozen=True, slots=True)
class Parts:
    """A model that convbench assembles: backbone, reducer, LayerNorm if asked, LSTM or GRU, linear head if asked.

    ``lstm_input`` is the size a reducer with a free output is built for; after preflight it is always the size
    that the LSTM really has. ``head`` is the number of outputs per time step.
    """

    backbone: Choice
    reducer: Choice
    lstm_input: int | None = None
    rnn: Recurrent = field(default_factory=Recurrent)
    layer_norm: bool = False
    head: int | None = None

    def __str__(self) -> str:
        size = f"{self.lstm_input or 'map'}{'+ln' if self.layer_norm else ''}"
        head = f"/head{self.head}" if self.head else ""
        return f"{self.backbone}/{self.reducer}/{size}/{self.rnn}{head}"


@dataclass(frozen=True, slots=True)
class Whole:
    """A user's own model, with the function that makes its inputs from a clip shape.

    ``stages`` pairs a stage (backbone, reducer, lstm, head) with the name of a submodule that is (part of) it. ``loss``
    is what training minimises, ``step`` how a frame is streamed, ``flops`` pairs an operator with the function that
    counts it: all import paths.
    """

    model: Choice
    inputs: str | None = None
    stages: tuple[tuple[str, str], ...] = ()
    loss: str | None = None
    step: str | None = None
    flops: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """The model with its options and whatever else makes it another case, as ``net:build(k=3,inputs=net:two)``."""
        pairs = {"stages": self.stages, "flops": self.flops}
        joined = {key: "+".join(f"{name}:{path}" for name, path in value) for key, value in pairs.items()}
        further = {"inputs": self.inputs, "loss": self.loss, "step": self.step, **joined}
        options = tuple((key, value) for key, value in further.items() if value)
        return str(replace(self.model, options=(*self.model.options, *options)))


@dataclass(frozen=True, slots=True)
class Trial:
    """A labelled task that a case's model is tried on instead of being timed.

    ``seed`` is that of clips, weights and order. Without a ``learning_rate`` nothing is trained. A ``control`` is what
    is taken from the task to see that it is needed: ``frame-shuffle``, ``single-frame`` or ``label-permutation``.
    """

    task: Choice
    seed: int = 0
    learning_rate: float | None = None
    control: str | None = None

    @property
    def trains(self) -> bool:
        """Whether the model is trained on the task; else a linear read-out is fitted to what it makes untrained."""
        return self.learning_rate is not None

    @property
    def scenario(self) -> str:
        """The word for the trial in a case's id, where other cases have their scenario."""
        return "learn" if self.trains else "probe"

    def __str__(self) -> str:
        rate = (f"lr={self.learning_rate:g}",) if self.learning_rate is not None else ()
        return "/".join((str(self.task), *rate, f"seed={self.seed}", *((self.control,) if self.control else ())))


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured. Its ``id`` is readable and is the join key everywhere.

    With a ``trial`` it is the quality of the architecture that is measured, with a head of the task's classes.
    ``threads`` compute an operator on a CPU: a number, or ``all`` for one a core of the machine; None is one.
    """

    architecture: Parts | Whole
    clip: Clip = field(default_factory=Clip)
    variant: tuple[Choice, ...] = ()
    scenario: str = "inference"
    device: str = "cpu"
    trial: Trial | None = None
    threads: int | Literal["all"] | None = None

    @property
    def id(self) -> str:
        words = (str(self.architecture), str(self.clip), self.variant_name, self.scenario, self.device)
        threads = (f"threads={self.threads}",) if self.threads not in (None, 1) else ()
        return "/".join((*words, *threads, *((str(self.trial),) if self.trial else ())))

    @property
    def variant_name(self) -> str:
        """``eager``, or the transformations joined by ``+`` in the order they are applied."""
        return "+".join(str(choice) for choice in self.variant) or "eager"

    @property
    def trains(self) -> bool:
        """Whether the case is a training on a task, whose readings are curves."""
        return self.trial is not None and self.trial.trains

    @property
    def reads_out(self) -> bool:
        """Whether the case is a linear read-out of untrained features."""
        return self.trial is not None and not self.trial.trains

    @property
    def around(self) -> Hashable:
        """What stands around the reducer: only where it is the same are reducers and sizes compared."""
        parts = self.architecture
        return (
            (parts.backbone, parts.rnn, parts.layer_norm, parts.head)
            if isinstance(parts, Parts)
            else type(parts).__name__
        )

    @property
    def eager(self) -> Case:
        """The same case without any variant: what a variant is compared with."""
        return replace(self, variant=())

    @property
    def forward_only(self) -> Case:
        """The eager case without its backward pass: training counts and traces its forward pass as inference."""
        return replace(self.eager, scenario="inference") if self.scenario == "train" else self.eager

    @property
    def frames_per_call(self) -> int:
        """Frames that one timed call consumes."""
        return self.clip.batch * (1 if self.scenario == "streaming" else self.clip.frames)

    @property
    def axes(self) -> dict[str, str | int | float | None]:
        """The case as flat, plainly named columns; a column that does not apply is None."""
        match self.architecture:
            case Parts() as parts:
                columns: dict[str, str | int | None] = {
                    "model": None,
                    "backbone": str(parts.backbone),
                    "reducer": str(parts.reducer),
                    "lstm_input": parts.lstm_input,
                    "rnn": str(parts.rnn),
                    "layer_norm": int(parts.layer_norm),
                    "head": parts.head,
                }
            case Whole() as whole:
                empty = dict.fromkeys(("backbone", "reducer", "lstm_input", "rnn", "layer_norm", "head"))
                columns = {"model": str(whole), **empty}
        return {
            "case": self.id,
            **columns,
            "clip": str(self.clip),
            "variant": self.variant_name,
            "scenario": self.scenario,
            "device": self.device,
            **self._tried,
        }

    @property
    def _tried(self) -> dict[str, str | int | float | None]:
        trial = self.trial
        if trial is None:
            return {}
        return {
            "task": str(trial.task),
            "seed": trial.seed,
            "learning_rate": trial.learning_rate,
            "control": trial.control,
        }


@dataclass(frozen=True, slots=True)
class Training:
    """How a model is trained on a task: so many steps of Adam with a cosine schedule on batches of the case's clip.

    At each of ``checkpoints``, evenly spread over the steps, validation and test accuracy are taken.
    """

    steps: int = 700
    checkpoints: int = 7
    train_clips: int = 4000
    val_clips: int = 500
    test_clips: int = 1000


@dataclass(frozen=True, slots=True)
class Protocol:
    """How every case of a suite is measured; never part of a case's identity. Times in seconds.

    A case is visited in ``visits`` fresh processes, more where the answer is open. In each, sampling stops when the
    95 % interval of the median is within ``target`` of it (half width, relative) and at least ``min_samples`` were
    taken, or when ``max_time`` is up. Warm-up ends when two successive windows of medians agree within 2 %, or after
    ``max_warmup``. ``timeout`` is the limit of a visit. ``budget`` is what the whole run may take, None for what the
    visits need.
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

    Of a case that was visited several times, ``visits`` says how many of the samples are each visit's.
    """

    metric: Metric
    samples: tuple[float, ...]
    visits: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a reader must know of a result, as data; its words are made where people read."""

    code: str
    level: Literal["note", "warning"] = "warning"
    data: Mapping[str, Scalar | tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a case has no result."""

    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True)
class Visit:
    """One fresh process in which a case was measured, in a round of the run (from 0).

    Round -1 is ``FACTS``: what can be told beside other work, and no latency. ``disturbed`` says by what a visit's
    times were spoilt, ``failure`` why it has none; both are empty of a good visit. ``host`` is which of the run's hosts
    measured, by a name that tells nothing else of it; empty where there is only one.
    """

    round: int
    started: str = ""
    seconds: float = 0.0
    cores: tuple[int, ...] = ()
    disturbed: str = ""
    failure: str = ""
    host: str = ""

    @property
    def timed(self) -> bool:
        """Whether the visit was there to take times."""
        return self.round != FACTS

    @property
    def sound(self) -> bool:
        return not (self.disturbed or self.failure)


@dataclass(frozen=True, slots=True)
class Record:
    """One case, measured on one machine in one visit or several.

    ``environment`` is the fingerprint of the machine and software, spelled out in the run's ``run.json``;
    ``conditions`` is the state that may differ from case to case (threads, allocator, load, ...).
    ``skipped`` means that this machine lacks what the case asks for. ``code`` holds the user's own modules that the
    case imported, each with a hash of its content.
    """

    case: Case
    status: Literal["ok", "failed", "skipped"]
    readings: tuple[Reading, ...] = ()
    findings: tuple[Finding, ...] = ()
    failure: Failure | None = None
    environment: str = ""
    conditions: Mapping[str, Scalar] = field(default_factory=dict)
    started: str = ""
    seconds: float = 0.0
    code: Mapping[str, str] = field(default_factory=dict)
    visits: tuple[Visit, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def samples(self, metric: str | Metric) -> tuple[float, ...]:
        """Samples of a metric, or of that name, without those of disturbed visits; empty where it was not measured."""
        return tuple(chain.from_iterable(self.by_visit(metric).values()))

    def by_visit(self, metric: str | Metric) -> dict[int, tuple[float, ...]]:
        """A metric's samples by the round of the sound visit that took them; one round, 0, where visits are unknown."""
        name = metric if isinstance(metric, str) else metric.name
        reading = next((reading for reading in self.readings if reading.metric.name == name), None)
        if reading is None:
            return {}
        if not reading.visits:
            return {0: reading.samples}
        remaining = iter(reading.samples)
        pairs = [
            (visit, tuple(islice(remaining, size))) for visit, size in zip(self.visits, reading.visits, strict=True)
        ]
        return {visit.round: samples for visit, samples in pairs if samples and visit.sound}


@dataclass(frozen=True, slots=True)
class Run:
    """What all records of one run share: written once as ``run.json`` before the first measurement.

    ``suite`` is the YAML text as it was run and ``command`` the command line that repeats the run;
    ``planned`` the ids of the cases to measure; ``equal`` maps a planned id to the ids of the suite that are
    the same configuration and are therefore not measured again. ``visible_slowdown`` is the smallest that a selftest of
    the latency gate saw on a machine like this, relative; ``intervals_meet`` the share of cases whose intervals met in
    two runs of a selftest here; None where none was run. A run on several hosts names them in ``hosts``, each with its
    fingerprint, spells the fingerprints out in ``environments``, and says in ``between_hosts`` by how much they differ.
    """

    name: str
    command: str
    suite: str
    protocol: Protocol
    metrics: tuple[str, ...]
    planned: tuple[str, ...]
    equal: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    environment: Mapping[str, Scalar] = field(default_factory=dict)
    fingerprint: str = ""
    convbench: str = ""
    started: str = ""
    visible_slowdown: float | None = None
    intervals_meet: float | None = None
    hosts: Mapping[str, str] = field(default_factory=dict)
    environments: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    between_hosts: str = ""
    schema_version: int = SCHEMA_VERSION
