"""Types for the options of plug-ins, so that a suite that says something else is refused at its place."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
Padding = Annotated[int, Field(ge=0)]
Exponent = Annotated[float, Field(gt=0)]
PaddingMode = Literal["zeros", "circular"]
