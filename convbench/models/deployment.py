"""Define a deployment, a model that another runtime runs, and ``Runtime``, the contract of a runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

from convbench.models.values import tensors

ASIDE = "scopes.json"
"""The file beside an exported model that names the module of each of its nodes. No runtime loads it."""
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Times = Mapping[str, float]
BeforeCall = Callable[[], object]


@dataclass(frozen=True)
class Example:
    """The call with which a model is exported.

    ``first`` is the arguments of the first call, with the initial state in place of None; None if calls carry no state.
    ``names`` are the names of the input tensors, ``outputs`` those of the output tensors. ``batch_axes`` has the batch
    axis of each input tensor, or None for a tensor without one. It is empty if the batch size is fixed.
    """

    call: Arguments
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
        """The number of state tensors, which are the last of the inputs and of the outputs."""
        return len(tensors(self.first[-1])) if self.first else 0


@dataclass(frozen=True)
class Quantisation:
    """How the runtime of a later variant must quantise the model. ``rows`` has the tensors of each calibration call."""

    method: Literal["dynamic", "static", "torchao"]
    rows: tuple[list[torch.Tensor], ...] = ()


@dataclass(frozen=True)
class LoadedModel:
    """A model that a runtime has loaded. ``run`` takes and returns the runtime's own arrays.

    ``arrays`` converts tensors to such arrays in order, and ``tensors`` converts them back. They avoid needless copies.
    """

    arrays: Callable[[Sequence[torch.Tensor]], list[Any]]
    run: Callable[[list[Any]], Sequence[Any]]
    tensors: Callable[[Sequence[Any]], Sequence[torch.Tensor]]

    def __call__(self, tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Return the outputs for these inputs, both as tensors."""
        return self.tensors(self.run(self.arrays(tensors)))


class Runtime(Protocol):
    """A runtime: a frozen dataclass that can be pickled, so that another process can load an exported model."""

    @property
    def name(self) -> str:
        """The name that its variant declares as ``engine``."""

    def export(self, flat_model: nn.Module, example: Example, folder: Path) -> None:
        """Write the model into an empty folder. Raises CaseFailed with the operator that cannot be written, and why."""

    def load(self, folder: Path, example: Example, threads: int) -> LoadedModel:
        """Load the model in the folder, ready to run with this number of threads."""

    def profile(
        self, folder: Path, example: Example, threads: int, calls: int, before_call: BeforeCall
    ) -> list[Times] | None:
        """Return the seconds by stage of each call from the runtime's own profile, or None if it has none.

        ``before_call`` is called before each call.
        """


@dataclass(frozen=True)
class Deployment:
    """A model in a runtime. ``export_seconds`` is None if an earlier visit exported it.

    ``call`` is the call that is timed: the scenario's next call, as a user's short program makes it. Its inputs are
    ready in the runtime's own arrays, and the state that it returns goes to the next call unchanged. ``output`` turns
    its result into the model's output. ``keeper`` removes the folder at the end if it belongs to this process.
    """

    runtime: Runtime
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
        """Bytes on disk of all files that the runtime loads."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and path.name != ASIDE)
        return sum(path.stat().st_size for path in files)

    def profile(self, calls: int, before_call: BeforeCall) -> list[Times] | None:
        return self.runtime.profile(self.folder, self.example, self.threads, calls, before_call)
