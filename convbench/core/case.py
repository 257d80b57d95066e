"""What is measured: a Case, which is made of an architecture, a clip, and how and where it runs.

All classes are frozen, typed, and need only the standard library. Each has a text that people write and read; that of a
case is its ``id``.
"""

from __future__ import annotations

import re
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Literal, NamedTuple

Scalar = str | int | float | bool | None
Options = frozenset[str]
STAGES = ("backbone", "reducer", "lstm", "head")
EAGER = "eager"
"""The variant that changes nothing: PyTorch as it comes."""
RNN_TEXT = r"(bi)?(lstm|gru)(\d+)(?:x(\d+))?(?:p(\d+))?"
"""The pattern of a recurrent stage's text: whether it is bidirectional, cell, hidden units, layers and projection."""
ControlName = Literal["frame-shuffle", "single-frame", "label-permutation"]
"""What a control takes away from a task; ``measure.quality.controls`` says how."""


class Features(NamedTuple):
    """Shape of one frame's feature map, (C, H, W)."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


@dataclass(frozen=True, slots=True)
class Choice:
    """A plug-in by its name on a shelf or its import path, with its options.

    Options with their default value are left out, except for a user's own plug-in, whose defaults another commit may
    change. Written ``gap``, ``avg-k(k=4)`` or ``mypkg.pooling:build(p=3)``.
    """

    name: str
    options: tuple[tuple[str, Scalar], ...] = ()

    def __eq__(self, other: object) -> bool:
        """Whether name and options are the same; 1, 1.0 and true are different options."""
        if not isinstance(other, Choice):
            return NotImplemented
        is_alike = (self.name, self.options) == (other.name, other.options)
        return is_alike and all(type(a[1]) is type(b[1]) for a, b in zip(self.options, other.options, strict=True))

    def __hash__(self) -> int:
        return hash((self.name, self.options))

    @property
    def is_imported(self) -> bool:
        """Whether the plug-in is the user's own, named by an import path."""
        return ":" in self.name

    def __str__(self) -> str:
        return self.without(()) if self.options else self.name

    @property
    def words(self) -> list[str]:
        """The options as they are written: ``k=3``. Unlike values, words tell 1, 1.0 and true apart."""
        return [_word(*option) for option in self.options]

    def without(self, words: Container[str]) -> str:
        """Return the choice as it is written, with ``…`` in place of these options, once for adjacent ones."""
        return abridged(self.name, self.words, words)


def abridged(name: str, words: Sequence[str], common: Container[str]) -> str:
    """Return ``net:build(k=3,…)``: a name with its options, and ``…`` in place of those that are common."""
    parts = groupby("…" if word in common else word for word in words)
    return f"{name}({','.join(part for part, _ in parts)})" if words else name


def _word(key: str, value: Scalar) -> str:
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"


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
    """The recurrent stage; its fields are named as in torch.nn.LSTM and torch.nn.GRU."""

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
    """A model that convbench assembles: backbone, reducer, optional LayerNorm, LSTM or GRU, optional linear head.

    ``lstm_input`` is the output size of a reducer that is free to choose it; after preflight it is always the size that
    the LSTM really has. ``head`` is the number of outputs per time step.
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
    is the function that training minimises, ``step`` the one that streams a frame; ``flops`` pairs an operator with the
    function that counts it. All functions are given by import path.
    """

    model: Choice
    inputs: str | None = None
    stages: tuple[tuple[str, str], ...] = ()
    loss: str | None = None
    step: str | None = None
    flops: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return str(self.choice)

    @property
    def choice(self) -> Choice:
        """The model with all settings that make it another case, such as ``net:build(k=3,inputs=net:two)``."""
        pairs = {"stages": self.stages, "flops": self.flops}
        texts = {key: "+".join(f"{name}:{path}" for name, path in value) for key, value in pairs.items()}
        settings = {"inputs": self.inputs, "loss": self.loss, "step": self.step, **texts}
        options = tuple((key, value) for key, value in settings.items() if value)
        return replace(self.model, options=(*self.model.options, *options))


@dataclass(frozen=True, slots=True)
class Trial:
    """A labelled task that a case's model is tried on instead of being timed.

    ``seed`` decides clips, weights and order. Without a ``learning_rate`` nothing is trained. A ``control`` (a
    ``ControlName``) is what is taken away from the task to see whether the task needs it.
    """

    task: Choice
    seed: int = 0
    learning_rate: float | None = None
    control: str | None = None

    @property
    def trains(self) -> bool:
        """Whether the model is trained on the task; else a linear read-out is fitted to its untrained features."""
        return self.learning_rate is not None

    @property
    def scenario(self) -> str:
        """The word for the trial in a case's id, in place of a scenario."""
        return "learn" if self.trains else "probe"

    def __str__(self) -> str:
        rate = (f"lr={self.learning_rate:g}",) if self.learning_rate is not None else ()
        return "/".join((str(self.task), *rate, f"seed={self.seed}", *((self.control,) if self.control else ())))


@dataclass(frozen=True, slots=True, repr=False)
class Case:
    """One configuration to measure. Its ``id`` is readable and is the join key everywhere.

    A case with a ``trial`` measures the quality of the architecture, with a head of the task's classes. ``threads`` is
    the number that compute an operator on a CPU, or ``all`` for one per core of the machine; None is one.
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
        """``ARCHITECTURE/CLIP/VARIANT/SCENARIO/DEVICE``, then the threads unless one, and the trial if there is one."""
        words = (str(self.architecture), str(self.clip), self.variant_name, self.scenario, self.device)
        threads = (f"threads={self.threads}",) if self.threads not in (None, 1) else ()
        return "/".join((*words, *threads, *((str(self.trial),) if self.trial else ())))

    def __repr__(self) -> str:
        return f"Case({self.id!r})"

    def short_id(self, common: Mapping[str, Options]) -> str:
        """Return the id with ``…`` for ``common_options``: ``net:build(k=3,…)/1x16x3x64x64/eager/inference/cpu``."""
        if not isinstance(self.architecture, Whole):
            return self.id
        choice = self.architecture.choice
        return choice.without(common.get(choice.name, ())) + self.id.removeprefix(str(choice))

    @property
    def variant_name(self) -> str:
        """``eager``, or the transformations joined by ``+`` in the order of application."""
        return "+".join(str(choice) for choice in self.variant) or EAGER

    @property
    def trains(self) -> bool:
        """Whether the case trains on a task; its readings are then curves."""
        return self.trial is not None and self.trial.trains

    @property
    def reads_out(self) -> bool:
        """Whether the case fits a linear read-out to untrained features."""
        return self.trial is not None and not self.trial.trains

    @property
    def streams(self) -> bool:
        """Whether a call is one frame, with the recurrent state carried from call to call."""
        return self.scenario == "streaming"

    @property
    def surroundings(self) -> Hashable:
        """Everything around the reducer: reducers and sizes are compared only if it is the same."""
        parts = self.architecture
        if not isinstance(parts, Parts):
            return type(parts).__name__
        return parts.backbone, parts.rnn, parts.layer_norm, parts.head

    @property
    def situation(self) -> Hashable:
        """Everything of a case but its reducer, LSTM input size and variant: cases that share it form one ranking."""
        return self.surroundings, self.clip, self.scenario, self.device, self.threads

    @property
    def eager(self) -> Case:
        """The same case without any variant: the baseline of its variants."""
        return replace(self, variant=())

    @property
    def at_any_rate(self) -> Case:
        """The same training without its learning rate, like a planned training whose rate is chosen later."""
        return replace(self, trial=self.trial and replace(self.trial, learning_rate=None))

    @property
    def forward_only(self) -> Case:
        """The eager case without its backward pass: a training's forward pass is counted and traced as inference."""
        return replace(self.eager, scenario="inference") if self.scenario == "train" else self.eager

    @property
    def frames_per_call(self) -> int:
        """Frames that one timed call consumes."""
        return self.clip.batch * (1 if self.streams else self.clip.frames)

    @property
    def axes(self) -> dict[str, str | int | float | None]:
        """The case as flat, plainly named columns; a column that does not apply is None."""
        columns: dict[str, str | int | float | None] = dict.fromkeys(
            ("case", "model", "backbone", "reducer", "lstm_input", "rnn", "layer_norm", "head")
        )
        match self.architecture:
            case Parts() as parts:
                columns |= {"backbone": str(parts.backbone), "reducer": str(parts.reducer), "rnn": str(parts.rnn)}
                columns |= {"lstm_input": parts.lstm_input, "layer_norm": int(parts.layer_norm), "head": parts.head}
            case Whole() as whole:
                columns |= {"model": str(whole)}
        columns |= {"case": self.id, "clip": str(self.clip), "variant": self.variant_name}
        columns |= {"scenario": self.scenario, "device": self.device}
        if trial := self.trial:
            columns |= {"task": str(trial.task), "seed": trial.seed}
            columns |= {"learning_rate": trial.learning_rate, "control": trial.control}
        return columns


def is_training(case_id: str) -> bool:
    """Whether a case id is that of a training; an option's text may be a path that contains the word."""
    return re.search(r"/learn/(cpu|cuda(:\d+)?)/", case_id) is not None


def common_options(architectures: Iterable[Parts | Whole]) -> dict[str, Options]:
    """Return, by the name of a user's own model, the options that all models of that name share."""
    choices = (architecture.choice for architecture in architectures if isinstance(architecture, Whole))
    return common_words((choice.name, choice.words) for choice in choices)


def common_words(names: Iterable[tuple[str, Sequence[str]]]) -> dict[str, Options]:
    """Return, by name, the options that all of that name share."""
    common: dict[str, Options] = {}
    for name, words in names:
        common[name] = common.get(name, frozenset(words)).intersection(words)
    return common


def id_matches(case_id: str, globs: Iterable[str]) -> bool:
    """Whether one of the globs matches a case's id or a part of it between slashes.

    A ``…`` in a glob stands for anything, as in the ids that are printed.
    """
    patterns = [glob.replace("…", "*") for glob in globs]
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in (case_id, *case_id.split("/")))
