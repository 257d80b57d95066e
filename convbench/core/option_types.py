"""Types for the options of plug-ins: a suite with any other value is refused, with the place of the value."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt

from convbench.core.errors import ConvbenchError

Count = Annotated[int, Ge(1)]
NonNegative = Annotated[int, Ge(0)]
Exponent = Annotated[float, Gt(0)]
PaddingMode = Literal["zeros", "circular"]
Exporter = Literal["dynamo", "torchscript"]
"""torch's exporters to ONNX."""


def size_list(text: str) -> tuple[int, ...]:
    """Return the sizes of an option that is a list of them, written ``16-32-64`` (a YAML list would be a sweep)."""
    try:
        sizes = tuple(int(part) for part in str(text).split("-"))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise ConvbenchError(f"{text!r} is not a list of sizes: write it as 16-32-64")
    return sizes
