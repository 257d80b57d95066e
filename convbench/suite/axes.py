"""The axes of a sweep as pydantic models: each is one value or a list; ``plugs`` checks the plug-ins in them."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from convbench.core.case import RNN_TEXT
from convbench.core.record import Clip, Recurrent
from convbench.suite.axis_values import FieldValues, OneOrMany
from convbench.suite.mistakes import quoted

Size = Annotated[int, Field(ge=1, le=2**31 - 1)]
CLIP_TEXT = r"\d+x\d+x\d+x\d+x\d+"


class Strict(BaseModel):
    """A model that refuses unknown keys, and values that are only nearly of their type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


def _threads(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Raise one sentence in place of pydantic's, which has one for each member of the union."""
    try:
        return handler(value)
    except ValidationError:
        raise ValueError(
            f"{quoted(value)} is not a number of threads: write a whole number of at least 1, or all"
        ) from None


class ClipLayout(Strict):
    """The input clip, B x T x C x H x W; also written as text, 1x16x3x64x64."""

    batch: OneOrMany[Size] = Field(default=[1], description="B: clips a call")
    frames: OneOrMany[Size] = Field(default=[16], description="T: frames of a clip")
    channels: OneOrMany[Size] = Field(default=[3], description="C: channels of a frame")
    height: OneOrMany[Size] = Field(default=[64], description="H: rows of a frame")
    width: OneOrMany[Size] = Field(default=[64], description="W: columns of a frame")

    @model_validator(mode="before")
    @classmethod
    def _parse_text(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else clip_fields(value)

    def shape(self) -> FieldValues:
        """The fields that are given, each with its values."""
        return _shape(Clip, self)


class RecurrentLayout(Strict):
    """The recurrent stage; also written as text: lstm128, bilstm256x2 (two layers), gru64, lstm512p128 (proj_size)."""

    pattern: ClassVar[bool] = False
    cell: OneOrMany[Literal["lstm", "gru"]] = Field(default=["lstm"], description="nn.LSTM or nn.GRU")
    hidden: OneOrMany[Size] = Field(default=[128], description="H: hidden size")
    layers: OneOrMany[Size] = Field(default=[1], description="L: stacked layers")
    bidirectional: OneOrMany[bool] = Field(default=[False], description="run both ways through the clip")
    proj_size: OneOrMany[Annotated[int, Field(ge=0)]] = Field(
        default=[0], description="LSTM only: project the hidden state to this size, smaller than hidden; 0 is off"
    )

    @model_validator(mode="before")
    @classmethod
    def _parse_text(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else rnn_fields(value)

    @model_validator(mode="after")
    def _check_projection(self) -> RecurrentLayout:
        if self.pattern:
            return self
        if max(self.proj_size) >= min(self.hidden):
            raise ValueError(f"proj_size {max(self.proj_size)} is not smaller than hidden {min(self.hidden)}")
        if max(self.proj_size) and "gru" in self.cell:
            raise ValueError("proj_size needs an lstm: nn.GRU has none")
        return self

    def shape(self) -> FieldValues:
        """The fields that are given, each with its values."""
        return _shape(Recurrent, self)


class AxesLayout(Strict):
    """The axes of a sweep: each one value or a list; the lists multiply."""

    backbone: OneOrMany[Any] = Field(
        default=["conv"], description="the convolutional part; options with lists multiply"
    )
    reducer: OneOrMany[Any] = Field(default=[None], description="from the feature map to the LSTM input")
    lstm_input: OneOrMany[Size | None] = Field(
        default=[None], description="D, for reducers whose output size is free; the others follow the feature map"
    )
    rnn: OneOrMany[RecurrentLayout] = Field(
        default_factory=lambda: [RecurrentLayout()], description="the recurrent stage (lstm128)"
    )
    layer_norm: OneOrMany[bool] = Field(default=[False], description="LayerNorm before the LSTM")
    head: OneOrMany[Size | None] = Field(
        default=[None], description="outputs of a linear layer after each time step; null: none"
    )
    model: OneOrMany[Any] = Field(default=[None], description="your own model instead: package.module:function")
    clip: OneOrMany[ClipLayout] = Field(
        default_factory=lambda: [ClipLayout()], description="the shape of the input (1x16x3x64x64)"
    )
    scenario: OneOrMany[str] = Field(
        default=["inference"], description="inference: a whole clip; streaming: a frame a call; train: a training step"
    )
    threads: OneOrMany[Annotated[Size | Literal["all"], WrapValidator(_threads)]] = Field(
        default=[1],
        description="threads that compute an operator on a CPU: a number, or all cores; several need a quiet machine",
    )
    variant: OneOrMany[Any] = Field(
        default=["eager"],
        description="how the model is run; with + or an inner list: several, applied one after another",
    )

    @field_validator("clip", mode="before")
    @classmethod
    def _refuse_numbers(cls, value: Any) -> Any:
        """Refuse a clip written as a list of its sizes once, not once for each size."""
        if isinstance(value, list) and len(value) > 1 and all(isinstance(size, int) for size in value):
            text = "x".join(map(str, value)) if len(value) == len(ClipLayout.model_fields) else "1x16x3x64x64"
            raise ValueError(f"a list of numbers is not a clip: write {text} (batch, frames, channels, height, width)")
        return value


class RecurrentPattern(RecurrentLayout):
    """Recurrent stages of an ``exclude`` entry: only the given fields have to agree."""

    pattern: ClassVar[bool] = True


class PatternLayout(AxesLayout):
    """The axes of an ``exclude`` entry."""

    rnn: OneOrMany[RecurrentPattern] = Field(default_factory=lambda: [RecurrentPattern()])  # type: ignore[assignment]


AXES = tuple(AxesLayout.model_fields)
OF_PARTS = ("backbone", "reducer", "lstm_input", "rnn", "layer_norm", "head")
OF_MODELS = (*OF_PARTS, "model")
"""The axes that define a model; the others say how any model is run."""


def clip_fields(text: Any) -> dict[str, int]:
    """Return the fields of a clip written as text. Raises ValueError."""
    if not isinstance(text, str) or not re.fullmatch(CLIP_TEXT, text, re.ASCII):
        shape = "batch x frames x channels x height x width"
        raise ValueError(f"{quoted(text)} is not a clip: write {shape}, as 1x16x3x64x64")
    return dict(zip(ClipLayout.model_fields, map(int, text.split("x")), strict=True))


def rnn_fields(text: Any) -> dict[str, Any]:
    """Return the fields of a recurrent stage written as text. Raises ValueError."""
    match = re.fullmatch(RNN_TEXT, text, re.ASCII) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{quoted(text)} is not a recurrent stage: write lstm128, bilstm256x2, gru64 or a mapping")
    prefix, cell, hidden_size, layers, projection = match.groups()
    return {
        "cell": cell,
        "hidden": int(hidden_size),
        "layers": int(layers or 1),
        "bidirectional": prefix is not None,
        "proj_size": int(projection or 0),
    }


def _shape(kind: type[Clip] | type[Recurrent], layout: BaseModel) -> FieldValues:
    names = [name for name in type(layout).model_fields if name in layout.model_fields_set]
    return FieldValues(kind, {name: getattr(layout, name) for name in names})
