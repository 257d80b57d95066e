"""Count a case or a live module, on ``meta`` or in a real call, by stage or by any modules."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from convbench.core.errors import CaseFailed, ConvbenchError, line_of, typed_line
from convbench.core.installed import OWN
from convbench.core.metrics import OTHER
from convbench.core.record import Case, Parts
from convbench.core.registry import backbones, reducers, scenarios
from convbench.core.text import cut
from convbench.measure.counts import dispatched
from convbench.measure.counts.dispatched import StageCounts, as_written
from convbench.models import subject
from convbench.models.stages import Roots, stage_by_module, stage_by_parameter
from convbench.models.subject import Subject
from convbench.models.weights import quantised_weights, shaped_tensors

SECONDS_ON_META = 3.0
"""CPU time of this thread that a call on ``meta`` may take: an operator takes up to a millisecond there, whatever its
tensors' sizes."""
SLOW = f"its call takes more than {SECONDS_ON_META:g} s there"
ADDRESS = re.compile(r" at 0x[0-9a-f]+|(?<=torch_mangle)_\d+")
"""Parts of an error message that differ from process to process."""
_COUNTS: dict[tuple[Case, int], StageCounts] = {}
"""Counts taken so far, by case and seed: a loop of thousands of steps takes seconds to count."""
_FORWARD_COUNTS: dict[tuple[Case, int], StageCounts] = {}
"""Counts of the forward pass alone, for trainings with a user's code."""
_REASONS: dict[tuple[Case, int], str] = {}
"""Why cases do not run on ``meta``, for those that were tried."""
MOST_COUNTS = 256


def on_meta_or_reason(case: Case, seed: int, seconds: float = SECONDS_ON_META) -> Subject | str:
    """Return the eager subject on ``meta``, called once if the call is a user's, or why it does not run there.

    The reason is ``SLOW`` if its call takes more than ``seconds``.
    """
    if not _calls_users_code(case):
        return subject.assemble(case, seed, device="meta")
    if (case, seed) in _REASONS:
        return _REASONS[case, seed]
    try:
        return _called_on_meta(case, seed, seconds)
    except Exception as error:
        _REASONS[case, seed] = SLOW if isinstance(error, _TooSlow) else reason_of(error)
        return _REASONS[case, seed]


def _calls_users_code(case: Case) -> bool:
    """Whether a user's whole model or scenario decides how many operators a call has."""
    return not isinstance(case.architecture, Parts) or scenarios.get(case.scenario).origin != OWN


@subject.retry_with_gradients
def _called_on_meta(case: Case, seed: int, seconds: float) -> Subject:
    on_meta = subject.assemble(case, seed, device="meta")
    with as_written(), _Limit(seconds):
        return after_call(on_meta)


class _TooSlow(CaseFailed):
    """A call exceeded its time limit."""


class _Limit(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, operators may be called for ``seconds``. Raises ``_TooSlow`` at the first one after that."""

    supports_higher_order_operators = True

    def __init__(self, seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.until = time.thread_time() + seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if time.thread_time() > self.until:
            raise _TooSlow("error", SLOW)
        return func(*args, **(kwargs or {}))


def after_call(subject: Subject) -> Subject:
    """Call the subject and return it: everything that its first call makes, such as lazy layers, now exists."""
    subject.call()
    return subject


def reason_of(error: BaseException) -> str:
    """The first line of an error, without addresses, so that it is the same in every process."""
    return cut(ADDRESS.sub("", line_of(error) if isinstance(error, CaseFailed) else typed_line(error)), 200)


def forget_counts() -> None:
    """Drop all counts before another measurement: code of the same name may have changed since."""
    _COUNTS.clear()
    _FORWARD_COUNTS.clear()
    _REASONS.clear()


@contextmanager
def raise_not_counted() -> Iterator[None]:
    """Raise an error of the counter as NotCounted with a sentence; ConvbenchError and MemoryError pass unchanged."""
    try:
        yield
    except (ConvbenchError, MemoryError):
        raise
    except Exception as error:
        raise NotCounted("error", f"torch's counter cannot follow the call: {reason_of(error)}") from error


class NotCounted(CaseFailed):
    """A model runs, but not under torch's counter, as may happen with higher-order operators."""


def count_case(case: Case, seed: int) -> StageCounts:
    """Return the first count of one call of the eager case, by stage; training counts forward and backward together."""
    case = case.eager
    if (case, seed) in _COUNTS:
        return _COUNTS[case, seed]
    on_meta = on_meta_or_reason(case, seed)
    return count_subject(on_meta if isinstance(on_meta, Subject) else after_call(subject.assemble(case, seed)))


def count_forward(case: Case, seed: int) -> StageCounts:
    """Return the first count of the forward pass alone.

    Training with a user's code is counted in training mode, because the mode may change what the code computes.
    """
    if case.scenario != "train" or not is_counted_as_called(case):
        return count_case(case.forward_only, seed)
    if (key := (case.eager, seed)) not in _FORWARD_COUNTS:
        twin = forward_twin(case, seed)
        with raise_not_counted(), as_written():
            _FORWARD_COUNTS[key] = dispatched.count(after_call(twin))
    return _FORWARD_COUNTS[key]


def is_counted_as_called(case: Case) -> bool:
    """Whether a forward pass is counted at full length in its own mode: a user's model, or in training a user's part.

    For our own parts, a few frames in either mode are enough.
    """
    parts = case.architecture
    if not isinstance(parts, Parts):
        return True
    is_builtin = backbones.get(parts.backbone.name).origin == reducers.get(parts.reducer.name).origin == OWN
    return case.scenario == "train" and not is_builtin


def forward_twin(case: Case, seed: int) -> Subject:
    """Assemble the forward pass of a case alone, on ``meta``, or on its device if it does not run on ``meta``.

    For training, the test is whether the training itself runs on ``meta``: a model that reads values only while it
    trains may run there in evaluation mode.
    """
    on_meta = not isinstance(on_meta_or_reason(case.eager, seed), str)
    return subject.assemble_forward(case, seed, "meta" if on_meta else None)


def macs_by_stage(case: Case) -> dict[str, int]:
    """MACs of one call of the eager case, by stage; ``other`` has those outside of all stages."""
    return count_case(case, 0).macs


def count_subject(subject: Subject) -> StageCounts:
    """Return the first count of a subject that was called once. Raises NotCounted if the counter cannot follow it."""
    key = (subject.case.eager, subject.seed)
    if key not in _COUNTS:
        if len(_COUNTS) >= MOST_COUNTS:
            forget_counts()
        with raise_not_counted():
            _COUNTS[key] = _count(subject)
    return _COUNTS[key]


def _count(subject: Subject) -> StageCounts:
    """Count a subject: a model that we assemble at few frames, a user's whole model or scenario at full length.

    Every stage of our models works frame by frame, so the count is affine in the number of frames. Two counts give it
    exactly and much faster on ``meta``, and work that a stage does once per call is counted once.
    """
    case = subject.case.eager
    if _calls_users_code(case):  # a scenario may skip frames, or need several
        return dispatched.count(subject)
    frames = case.frames_per_call // case.clip.batch
    few = 2 if case.scenario == "train" else 1  # batch norm cannot train on a single value per channel
    if frames <= few:
        return _count_frames(case, frames)
    counts, more_macs = _count_frames(case, few), _count_frames(case, few + 1).macs
    totals = {stage: macs + (frames - few) * (more_macs[stage] - macs) for stage, macs in counts.macs.items()}
    return replace(counts, macs=totals)


def _count_frames(case: Case, frames: int) -> StageCounts:
    """Count the eager case with ``frames`` frames a clip; the first costs less to train, as no state precedes it."""
    clip = replace(case.clip, frames=frames)
    return dispatched.count(subject.assemble(replace(case, clip=clip), seed=0, device="meta"))


@dataclass(frozen=True)
class ModuleCounts:
    """The cost of one call of a module. ``macs`` and ``params`` are by the dotted name of each submodule.

    Both include inner modules; a shared one counts for the first module that holds it; ``""`` is the module itself.
    ``unknown_operators`` have no formula; ``unknown_share`` is the share of the parameters that only they read.
    """

    macs: dict[str, int]
    params: dict[str, int]
    unknown_operators: tuple[str, ...]
    unknown_share: float


def count_by_module(subject: Subject) -> ModuleCounts:
    """Return the first count of a subject that was called once, by each of its model's submodules."""
    roots = {f".{name}": (module,) for name, module in subject.model.named_modules() if name}
    with raise_not_counted():
        counts = dispatched.count(subject, roots)
    params = params_by(subject.model, roots)
    return ModuleCounts(_totals(counts.macs), _totals(params), counts.unknown_operators, counts.unknown_share)


def _totals(counts: Mapping[str, int]) -> dict[str, int]:
    """Sum the counts of each module and of all modules inside it; ``""`` is the total.

    Names in ``counts`` begin with a dot, so that a module may be called ``other``.
    """
    sums = {"": sum(counts.values())} | {name[1:]: 0 for name in counts if name != OTHER}
    for name, count in counts.items():
        for around in accumulate(name[1:].split("."), "{}.{}".format) if name != OTHER else ():
            sums[around] += count
    return sums


def params_by(model: nn.Module, roots: Roots) -> dict[str, int]:
    """Parameters by the names of ``roots``, ``other`` outside of them; a shared one counts once, for the first name."""
    owners, modules = stage_by_parameter(roots), stage_by_module(roots)
    sizes = dict.fromkeys((*roots, OTHER), 0)
    for parameter in shaped_tensors(model.parameters()):
        sizes[owners.get(parameter, OTHER)] += parameter.numel()
    for module in model.modules():
        for weight in quantised_weights(module):
            sizes[modules.get(module, OTHER)] += weight.numel()
    return sizes
