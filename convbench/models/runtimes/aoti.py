"""AOTInductor as a runtime: it compiles a graph from torch.export ahead of time into a library in a package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from convbench.core.errors import CaseFailed
from convbench.models.deployment import BeforeCall, Example, LoadedModel, Times
from convbench.models.runtimes.export_error import export_reason
from convbench.models.without_values import without_checks

PACKAGE = "model.pt2"


@dataclass(frozen=True)
class AotInductor:
    """A model that AOTInductor compiles. ``freeze`` folds and packs weights at compilation instead of at every call."""

    freeze: bool
    name: str = "aot-inductor"

    def export(self, flat_model: nn.Module, example: Example, folder: Path) -> None:
        try:
            with without_checks():
                program = torch.export.export(flat_model, tuple(example.tensors), strict=False)
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(folder / PACKAGE), inductor_configs={"freezing": self.freeze}
            )
        except Exception as error:
            text = export_reason(error, flat_model)
            raise CaseFailed("error", f"cannot be compiled ahead of time by AOTInductor: {text}") from error

    def load(self, folder: Path, example: Example, threads: int) -> LoadedModel:
        """Load the package. ``threads`` is not used: the library takes its threads from the same OpenMP as torch."""
        package = torch._inductor.aoti_load_package(str(folder / PACKAGE))
        strides = [tensor.stride() for tensor in example.tensors]

        def run(tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
            arguments = [_with_stride(tensor, stride) for tensor, stride in zip(tensors, strides, strict=True)]
            outputs: Sequence[torch.Tensor] = package(*arguments)
            return outputs

        return LoadedModel(list, run, list)

    def profile(
        self, folder: Path, example: Example, threads: int, calls: int, before_call: BeforeCall
    ) -> list[Times] | None:
        return None


def _with_stride(tensor: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    """Return the tensor in the memory order that was compiled. The library assumes it and would misread any other."""
    if tensor.stride() == stride:
        return tensor
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
