"""torch.compile in its modes, with or without capturing the LSTM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from convbench.core.errors import Unavailable
from convbench.core.record import Whole
from convbench.core.registry import declares, variants
from convbench.core.traits import INDUCTOR, VariantTraits
from convbench.measure.machine.toolchain import missing_gpu_tool, missing_tool, switched_off

if TYPE_CHECKING:
    from convbench.models.subject import Subject


@variants.register("compile")
@declares(VariantTraits(engine=INDUCTOR, opaque=True, own_process=True, compiles=True))
def compile_forward(
    subject: Subject, *, mode: Literal["default", "reduce-overhead", "max-autotune"] = "default", rnn: bool = False
) -> Subject:
    """torch.compile: dynamo leaves the LSTM out by default; ``rnn=true`` captures it, which takes longer to compile."""
    import torch

    _need_compiler(subject.device)
    allow_rnn(rnn)
    forward = torch.compile(subject.forward, mode=mode)
    uses_graphs = mode != "default" and subject.on_gpu
    compiles_state = rnn or isinstance(subject.case.architecture, Whole)
    if subject.case.streams and uses_graphs and compiles_state:
        forward = _copy_state(forward)
    return replace(subject, forward=forward)


def _copy_state(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``forward`` on a copy of the state: torch raises if outputs that a CUDA graph overwrites are read."""
    import torch

    from convbench.models.values import map_leaves

    def step(frame: Any, state: Any) -> Any:
        return forward(frame, map_leaves(torch.clone, state))

    return step


def _need_compiler(device: str) -> None:
    if reason := switched_off():
        raise Unavailable(reason)
    if reason := missing_tool() if device == "cpu" else missing_gpu_tool():
        raise Unavailable(f"torch.compile cannot build here: {reason}")


def allow_rnn(is_allowed: bool) -> None:
    """Set whether dynamo traces into LSTM and GRU in this process."""
    import torch

    torch._dynamo.config.allow_rnn = is_allowed
