"""The layout of a suite file as pydantic models: keys, types and ranges; ``axes`` has those of its axes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, field_validator, model_validator

from convbench.core.case import ControlName
from convbench.core.errors import ConvbenchError
from convbench.core.quantities import duration
from convbench.core.record import SCHEMA_VERSION, Protocol, Training
from convbench.suite.axes import AXES, AxesLayout, ClipLayout, PatternLayout, RecurrentLayout, Size, Strict
from convbench.suite.axis_values import OneOrMany
from convbench.suite.mistakes import Location, message_of, quoted

WAIT: dict[str, Any] = {
    "anyOf": [
        {"exclusiveMinimum": 0, "type": "number"},
        {"pattern": r"^\s*\d+(\.\d+)?\s*(s|m|min|h)?\s*$", "type": "string"},
    ]
}
"""The JSON Schema of a time that people wait."""
_DEFAULT = Protocol()
"""The defaults of a single visit; a suite's own, where they differ, are for several short visits."""
_TRAINING = Training()


def _seconds(value: Any) -> Any:
    """Return the seconds of a time that is written with its unit, such as 5m."""
    try:
        return duration("", value) if isinstance(value, str) else value
    except ConvbenchError as error:
        raise ValueError(str(error).strip()) from error


Wait = Annotated[float, Field(gt=0), BeforeValidator(_seconds), WithJsonSchema(WAIT)]


class ProtocolLayout(Strict):
    """How every case is measured; times in seconds."""

    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(
        default=_DEFAULT.seed, description="seed of weights and clips"
    )
    max_warmup: Annotated[float, Field(ge=0)] = Field(default=0.1, description="longest warm-up of a visit")
    max_time: Annotated[float, Field(gt=0)] = Field(default=0.15, description="longest sampling of a visit")
    min_samples: Size = Field(default=_DEFAULT.min_samples, description="samples before sampling may stop early")
    target: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=_DEFAULT.target,
        description="stop when the 95 % interval of the median is this tight (half width, relative)",
    )
    timeout: Wait = Field(default=_DEFAULT.timeout, description="limit of a visit to a case; also 90s or 5m")
    visits: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="fresh processes that measure a case; more while the answer is open"
    )
    budget: Wait | None = Field(
        default=None,
        description="limit of the run: after the first round, visits go where the answer is open; also 90s or 5m",
    )

    def build(self, training: TrainingLayout) -> Protocol:
        """These settings as the Protocol that measuring reads."""
        return Protocol(**self.model_dump(), training=training.build())


def check_protocol(protocol: Protocol) -> Protocol:
    """Return the protocol after a check of its settings.

    Raises ConvbenchError if it is no Protocol, or has a setting that a suite could not have.
    """
    if not isinstance(protocol, Protocol):
        raise ConvbenchError(f"protocol: {quoted(protocol)} is not a convbench.Protocol")
    try:
        ProtocolLayout(**{name: getattr(protocol, name) for name in ProtocolLayout.model_fields})
    except ValidationError as error:
        messages = (f"protocol.{detail['loc'][0]}: {message_of(detail)}" for detail in error.errors())
        raise ConvbenchError("; ".join(messages)) from error
    return protocol


class TrainingLayout(Strict):
    """The tasks that ``quality: train`` tries every architecture on, and how it is trained."""

    tasks: OneOrMany[Any] = Field(default=["identity", "direction"], description="what is learned; a list multiplies")
    only: OneOrMany[str] | None = Field(
        default=None,
        description="try only architectures whose id as it is written, or a part of it, matches one of these globs",
    )
    seeds: Size = Field(
        default=3, description="how often everything is run, each time with other clips, weights and order"
    )
    learning_rates: OneOrMany[Annotated[float, Field(gt=0)]] = Field(
        default=[5e-4, 2e-3, 8e-3], description="the best is chosen by validation for each architecture and task"
    )
    rate_seeds: Size = Field(
        default=2, description="seeds that try every learning rate; the others use the best of them"
    )
    controls: OneOrMany[ControlName] | None = Field(
        default=None, description="additional runs with something taken away from the task"
    )
    batch: Size = Field(default=32, description="clips a step")
    steps: Size = Field(default=_TRAINING.steps, description="optimizer steps of a run")
    checkpoints: Annotated[int, Field(ge=3)] = Field(
        default=_TRAINING.checkpoints, description="points of the curve of accuracy"
    )
    train_clips: Size = Field(default=_TRAINING.train_clips, description="clips to learn from")
    val_clips: Size = Field(default=_TRAINING.val_clips, description="clips by which the learning rate is chosen")
    test_clips: Size = Field(default=_TRAINING.test_clips, description="clips that accuracy is reported on")

    @model_validator(mode="after")
    def _check_steps(self) -> TrainingLayout:
        if self.steps < self.checkpoints:
            raise ValueError(
                f"{self.steps} steps are fewer than {self.checkpoints} checkpoints: "
                f"write steps: {self.checkpoints} or more, or fewer checkpoints"
            )
        return self

    def build(self) -> Training:
        """These settings as the Training that measuring reads."""
        has_choice = len(set(self.learning_rates)) > 1 and self.rate_seeds < self.seeds
        clips = (self.train_clips, self.val_clips, self.test_clips)
        return Training(self.steps, self.checkpoints, *clips, rate_seeds=self.rate_seeds if has_choice else 0)


class SuiteLayout(Strict):
    """A convbench suite: which architectures are measured, and how."""

    schema_version: int = Field(default=SCHEMA_VERSION, description="version of this layout")
    name: str | None = Field(
        default=None, max_length=100, description="name of the report's directory; default: the file's name"
    )
    description: str = Field(default="", description="one line on the question that the suite asks")
    matrix: AxesLayout = Field(default_factory=AxesLayout)
    include: list[AxesLayout] = Field(
        default_factory=list, description="extends the combinations it agrees with, else adds combinations of its own"
    )
    exclude: list[PatternLayout] = Field(
        default_factory=list, description="removes the matrix's combinations that agree with every key of an entry"
    )
    protocol: ProtocolLayout = Field(default_factory=ProtocolLayout)
    metrics: OneOrMany[str] | None = Field(default=None, description="probes to run; default: all of them")
    quality: Literal["none", "probe", "train"] = Field(
        default="none",
        description="also measure the architectures' quality: probe: by a linear read-out of the untrained features; "
        "train: by short trainings",
    )
    training: TrainingLayout = Field(default_factory=TrainingLayout, description="what quality: train does")
    loss: str | None = Field(
        default=None,
        description="what training minimises, for every model: without a loss of its own; package.module:function",
    )
    step: str | None = Field(
        default=None,
        description="how a frame is streamed, for every model: without a step of its own; package.module:function",
    )
    flops: dict[str, str] = Field(
        default_factory=dict,
        description='for every model:, your own operators with functions that count them: {"shop::proj": mypkg:proj}',
    )
    profile: bool = Field(default=False, description="also take a torch.profiler trace of every case")

    @field_validator("schema_version")
    @classmethod
    def _check_version(cls, version: int) -> int:
        if version > SCHEMA_VERSION:
            raise ValueError(f"{version} is newer than this convbench reads ({SCHEMA_VERSION}): upgrade convbench")
        if version < 1:
            raise ValueError(f"{version} was never a version: write {SCHEMA_VERSION}")
        return version

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        if name is not None and (not name.strip(" .") or re.search(r"[/\\\x00-\x1f]", name)):
            raise ValueError(f"{name!r} cannot name a directory: use letters, digits, - and _")
        return name


KEYS: dict[str | int, tuple[str, ...]] = {
    "": tuple(SuiteLayout.model_fields),
    **dict.fromkeys(("matrix", "include", "exclude"), AXES),
    "protocol": tuple(ProtocolLayout.model_fields),
    "training": tuple(TrainingLayout.model_fields),
    "rnn": tuple(RecurrentLayout.model_fields),
    "clip": tuple(ClipLayout.model_fields),
}


def sections(data: Mapping[str, Any]) -> list[tuple[Location, dict[str, Any]]]:
    """Return the mappings of axes in a suite with their locations: the matrix, each include and each exclude entry."""
    pairs: list[tuple[Location, Any]] = [(("matrix",), data.get("matrix", {}))]
    for key in ("include", "exclude"):
        entries = data.get(key)
        pairs += [((key, i), entry) for i, entry in enumerate(entries if isinstance(entries, list) else [])]
    return [(at, value) for at, value in pairs if isinstance(value, dict)]
