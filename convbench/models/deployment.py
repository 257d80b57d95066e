"""A model that another runtime runs: what it was exported with, where it lies, and what a runtime has to offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

from convbench.models.values import tensors

ASIDE = "scopes.json"
"""A file beside an exported model that no runtime loads: which module each of its nodes comes from."""
Call = tuple[tuple[Any, ...], dict[str, Any]]
Times = Mapping[str, float]
BeforeCall = Callable[[], object]
Method = Literal["dynamic", "static", "torchao"]


@dataclass(frozen=True)
class Example:
    """A call to export. ``first`` replaces the arguments of a call that has no state yet; None where all have the same.

    ``names`` are those of its tensors, ``outputs`` those of what comes back. ``batch_axes`` are the axes of its tensors
    that are the batch, where that may be any; None of a tensor that has none.
    """

    call: Call
    output: Any
    first: tuple[Any, ...] | None
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    batch_axes: tuple[int | None, ...] = ()

    @property
    def tensors(self) -> list[torch.Tensor]:
        return tensors(self.call)

    @property
    def carried(self) -> int:
        """How many tensors are state: the last ones of what goes in and of what comes back."""
        return len(tensors(self.first[-1])) if self.first else 0


@dataclass(frozen=True)
class Quantisation:
    """How a runtime that follows is to quantise the model; ``rows`` are the tensors of the calls that ranges are of."""

    method: Method
    rows: tuple[list[torch.Tensor], ...] = ()


@dataclass(frozen=True)
class LoadedModel:
    """A model that a runtime has loaded: ``run`` takes and returns what the runtime computes with.

    ``arrays`` makes that of tensors, in their order, and ``tensors`` makes tensors of it; neither copies what need not
    be copied.
    """

    arrays: Callable[[Sequence[torch.Tensor]], list[Any]]
    run: Callable[[list[Any]], Sequence[Any]]
    tensors: Callable[[Sequence[Any]], Sequence[torch.Tensor]]

    def __call__(self, tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Tensors in, tensors out."""
        return self.tensors(self.run(self.arrays(tensors)))


class Engine(Protocol):
    """A runtime: a frozen dataclass that can be pickled, so that another process can load what it wrote."""

    @property
    def name(self) -> str:
        """What its variant declares as its engine."""

    def export(self, flat_model: nn.Module, example: Example, folder: Path) -> None:
        """Write the model into an empty folder. Raises CaseFailed saying which operator cannot be written, and why."""

    def load(self, folder: Path, example: Example, threads: int) -> LoadedModel:
        """The model that lies there, ready to run with so many threads."""

    def profile(
        self, folder: Path, example: Example, threads: int, calls: int, before_call: BeforeCall
    ) -> list[Times] | None:
        """Seconds by stage of each of so many calls, as the runtime itself tells; None where it does not.

        Before each of them it calls ``before_call``.
        """


@dataclass(frozen=True)
class Deployment:
    """A model in a runtime. ``export_seconds`` is None where an earlier visit has exported it.

    ``call`` is the scenario's next call as a short program of a user's makes it, which is what is timed: what is given
    lies ready in the runtime's own arrays, and the state that comes back is given to the next call as it is. ``output``
    makes of what it returns what the model returns. ``keeper`` removes a folder of this process's own in the end.
    """

    engine: Engine
    folder: Path
    example: Example
    threads: int
    export_seconds: float | None
    load_seconds: float
    model: LoadedModel
    call: Callable[[], Sequence[Any]]
    output: Callable[[Sequence[Any]], Any]
    keeper: object = None

    @property
    def bytes(self) -> int:
        """Bytes on disk of all that the runtime loads."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and path.name != ASIDE)
        return sum(path.stat().st_size for path in files)

    def profile(self, calls: int, before_call: BeforeCall) -> list[Times] | None:
        return self.engine.profile(self.folder, self.example, self.threads, calls, before_call)
