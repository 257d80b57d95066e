"""The counts of a case and of a live module: taken on ``meta`` or of the real call, by stage or by any modules."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from convbench.core.errors import CaseFailed, ConvbenchError, line_of, typed_line
from convbench.core.installed import OWN
from convbench.core.metrics import OTHER
from convbench.core.record import Case, Parts
from convbench.core.registry import backbones, reducers
from convbench.measure.counts import dispatched
from convbench.measure.counts.dispatched import StageCounts, as_written
from convbench.models import subject
from convbench.models.stages import Roots, stage_by_module, stage_by_parameter
from convbench.models.subject import Subject
from convbench.models.weights import materialized, quantised_weights

SECONDS_ON_META = 3.0
"""Of this thread, that a call may take there: an operator takes up to a millisecond, whatever its tensors' sizes."""
SLOW = f"its call takes more than {SECONDS_ON_META:g} s there"
ADDRESS = re.compile(r" at 0x[0-9a-f]+|(?<=torch_mangle)_\d+")
"""What of an error's words differs from process to process."""
_COUNTS: dict[tuple[Case, int], StageCounts] = {}
"""What was counted already, by the case and its seed: a loop of thousands of steps takes seconds to count."""
_FORWARD_COUNTS: dict[tuple[Case, int], StageCounts] = {}
"""Of a training with a user's code what its forward pass alone counts."""
_REASONS: dict[tuple[Case, int], str] = {}
"""Why a case does not run on ``meta``, where that was tried."""
MOST_COUNTS = 256


def on_meta_or_reason(case: Case, seed: int, seconds: float = SECONDS_ON_META) -> Subject | str:
    """The case's eager subject on ``meta``, called once where it is a user's model; or why it does not run there.

    The reason is ``SLOW`` where its call takes more than so many seconds.
    """
    if isinstance(case.architecture, Parts):
        return subject.assemble(case, seed, device="meta")
    if (case, seed) in _REASONS:
        return _REASONS[case, seed]
    try:
        on_meta = subject.assemble(case, seed, device="meta")
        with as_written(on_meta.model), _Limit(seconds):
            return after_call(on_meta)
    except Exception as error:
        _REASONS[case, seed] = SLOW if isinstance(error, _TooSlow) else reason_of(error)
        return _REASONS[case, seed]


class _TooSlow(CaseFailed):
    """A call has taken the time that it may take."""


class _Limit(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, operators may be called for so many seconds. Raises ``_TooSlow`` at the next one."""

    supports_higher_order_operators = True

    def __init__(self, seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.until = time.thread_time() + seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if time.thread_time() > self.until:
            raise _TooSlow("error", SLOW)
        return func(*args, **(kwargs or {}))


def after_call(subject: Subject) -> Subject:
    """The subject once it was called: what it makes in its first call, such as lazy layers, is there."""
    subject.call()
    return subject


def reason_of(error: BaseException) -> str:
    """The first line of an error; the same for the same error of another process."""
    return ADDRESS.sub("", line_of(error) if isinstance(error, CaseFailed) else typed_line(error))[:200]


def forget_counts() -> None:
    """Before another measurement: code of the same name may be other code by then."""
    _COUNTS.clear()
    _FORWARD_COUNTS.clear()
    _REASONS.clear()


@contextmanager
def raising_not_counted() -> Iterator[None]:
    """What counting a model that runs raises all the same, as NotCounted with a sentence on it."""
    try:
        yield
    except (ConvbenchError, MemoryError):
        raise
    except Exception as error:
        raise NotCounted("error", f"torch's counter cannot follow the call: {reason_of(error)}") from error


class NotCounted(CaseFailed):
    """A model runs, and not under torch's counter, as one with higher-order operators may."""


def count_case(case: Case, seed: int) -> StageCounts:
    """The first count of one call of the eager case, by stage. Of training forward and backward together."""
    case = case.eager
    if (case, seed) in _COUNTS:
        return _COUNTS[case, seed]
    on_meta = on_meta_or_reason(case, seed)
    return count_subject(on_meta if isinstance(on_meta, Subject) else after_call(subject.assemble(case, seed)))


def count_forward(case: Case, seed: int) -> StageCounts:
    """The first count of the forward pass alone; of a training with a user's code as it trains, as that may matter."""
    if case.scenario != "train" or not is_counted_as_called(case):
        return count_case(case.forward_only, seed)
    if (key := (case.eager, seed)) not in _FORWARD_COUNTS:
        twin = forward_twin(case, seed)
        with raising_not_counted(), as_written(twin.model):
            _FORWARD_COUNTS[key] = dispatched.count(after_call(twin))
    return _FORWARD_COUNTS[key]


def is_counted_as_called(case: Case) -> bool:
    """Whether a forward pass is counted at full length in its own mode: a user's model, or in training a user's part.

    Of our own parts two frames tell all, in either mode.
    """
    parts = case.architecture
    if not isinstance(parts, Parts):
        return True
    is_builtin = backbones.get(parts.backbone.name).origin == reducers.get(parts.reducer.name).origin == OWN
    return case.scenario == "train" and not is_builtin


def forward_twin(case: Case, seed: int) -> Subject:
    """The forward pass of a case alone, on ``meta`` or on its device where it does not run there.

    Of a training the training is asked: in evaluation mode a model may run there that reads values as it trains.
    """
    on_meta = not isinstance(on_meta_or_reason(case.eager, seed), str)
    return subject.assemble_forward(case, seed, "meta" if on_meta else None)


def macs_by_stage(case: Case) -> dict[str, int]:
    """MACs of one call of the eager case, by stage; what lies in no stage is ``other``."""
    return count_case(case, 0).macs


def count_subject(subject: Subject) -> StageCounts:
    """The first count of a subject that was called once. Raises NotCounted where torch's counter cannot follow it."""
    key = (subject.case.eager, subject.seed)
    if key not in _COUNTS:
        if len(_COUNTS) >= MOST_COUNTS:
            forget_counts()
        with raising_not_counted():
            _COUNTS[key] = _count(subject)
    return _COUNTS[key]


def _count(subject: Subject) -> StageCounts:
    """Every stage of a model we assemble works frame by frame, so that the count is affine in the number of frames.

    Two of them are counted instead of all (exact, and much faster on ``meta``), so that what a stage computes once a
    call is counted once; a user's whole model is counted at full length.
    """
    case = subject.case.eager
    if not isinstance(case.architecture, Parts):
        return dispatched.count(subject)
    frames = case.frames_per_call // case.clip.batch
    counts = _count_frames(case, 1)
    if frames == 1:
        return counts
    double_macs = _count_frames(case, 2).macs
    totals = {stage: macs + (frames - 1) * (double_macs[stage] - macs) for stage, macs in counts.macs.items()}
    return replace(counts, macs=totals)


def _count_frames(case: Case, frames: int) -> StageCounts:
    """The eager case with that many frames a clip; the first of them costs less to train, with no state before it."""
    clip = replace(case.clip, frames=frames)
    return dispatched.count(subject.assemble(replace(case, clip=clip), seed=0, device="meta"))


@dataclass(frozen=True)
class ModuleCounts:
    """What one call of a module costs. ``macs`` and ``params`` by the dotted name of each submodule.

    Either includes what lies inside, for the first of those that share it; ``""`` is the module itself.
    ``unknown_operators`` have no formula; ``unknown_share`` of the parameters is read by them only.
    """

    macs: dict[str, int]
    params: dict[str, int]
    unknown_operators: tuple[str, ...]
    unknown_share: float


def count_by_module(subject: Subject) -> ModuleCounts:
    """The first count of a subject that was called once, by each of its model's submodules."""
    roots = {f".{name}": (module,) for name, module in subject.model.named_modules() if name}
    with raising_not_counted():
        macs, operators, share = dispatched.count_by(subject, roots)
    params = params_by(subject.model, roots)
    return ModuleCounts(_totals(macs), _totals(params), operators, share)


def _totals(counts: Mapping[str, int]) -> dict[str, int]:
    """What belongs to a module by its name and to all that are named inside of it; ``""`` is all there is.

    A name of ``counts`` begins with a dot, so that a module may be called ``other``.
    """
    names = [name for name in counts if name != OTHER]
    sums = {name[1:]: sum(counts[inner] for inner in names if f"{inner}.".startswith(f"{name}.")) for name in names}
    return {"": sum(counts.values()), **sums}


def params_by(model: nn.Module, roots: Roots) -> dict[str, int]:
    """Parameters by the names of ``roots``, ``other`` for the rest; a shared one counts once, where it comes first."""
    owners, modules = stage_by_parameter(roots), stage_by_module(roots)
    sizes = dict.fromkeys((*roots, OTHER), 0)
    for parameter in materialized(model.parameters()):
        sizes[owners.get(parameter, OTHER)] += parameter.numel()
    for module in model.modules():
        for weight in quantised_weights(module):
            sizes[modules.get(module, OTHER)] += weight.numel()
    return sizes
