"""AOTInductor: torch.export, compiled to a shared library and packaged; the model then runs without Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.core.errors import Unavailable
from convbench.core.registry import declares, variants
from convbench.core.traits import runtime_traits
from convbench.measure.machine.toolchain import missing_cuda_toolkit, missing_gpu_tool, missing_tool

if TYPE_CHECKING:
    from convbench.models.subject import Subject


@variants.register("aot-inductor")
@declares(runtime_traits("aot-inductor", builds=True, combines=("half", "channels_last", "allocator")))
def aot_inductor(subject: Subject, *, freeze: bool = True) -> Subject:
    """Compiled ahead of time by torch.export and aoti_compile_and_package; ``freeze`` packs the weights in advance."""
    from convbench.models.runtimes.aoti import AotInductor
    from convbench.models.runtimes.deploy import deploy

    if reason := missing_tool() or (missing_gpu_tool() or missing_cuda_toolkit() if subject.on_gpu else None):
        raise Unavailable(f"AOTInductor cannot build here: {reason}")
    return deploy(subject, AotInductor(freeze))
