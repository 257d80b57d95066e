"""Build every case on ``meta`` before the first measurement; find equal cases and refuse impossible ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod

import torch

from convbench.core.code import located
from convbench.core.errors import ConvbenchError, Impossible
from convbench.core.installed import OWN
from convbench.core.record import Case, Choice, Features, Parts, Training
from convbench.core.registry import reducers, scenarios
from convbench.core.scales import gib
from convbench.core.text import first_lines
from convbench.measure.quality.trial import refuse_unlearnable
from convbench.models import subject
from convbench.models.network import build_reducer, forget_shapes, map_shape, preserve_random_state, vector_size
from convbench.models.variants import refuse_misplaced
from convbench.models.weights import weights_bytes
from convbench.suite.selection import Plan

FLOAT_BYTES = 4


@preserve_random_state()
def preflight(cases: Iterable[Case], available_bytes: int, training: Training | None = None) -> Plan:
    """Resolve every case and drop repetitions, keeping the order.

    Raises Impossible with a line for each reason: sizes that do not fit, plug-ins that fail, and models, or clips of a
    ``training``, that need more than ``available_bytes``.
    """
    forget_shapes()
    case_by_identity: dict[object, Case] = {}
    equal_ids: dict[str, dict[str, None]] = defaultdict(dict)
    refusals: dict[str, str] = {}
    sizes: list[tuple[Parts, int | None]] = []
    for case in cases:
        try:
            resolved_case, twin = _build(case)
            _refuse_too_large(resolved_case, twin, available_bytes)
            if training:
                _refuse_too_many_clips(resolved_case, training, available_bytes)
            first_case = case_by_identity.setdefault(_identity(resolved_case), resolved_case)
            sizes += _sizes(case, resolved_case)
        except ConvbenchError as error:
            refusals[case.id] = str(error)
            continue
        if first_case.id != resolved_case.id:
            equal_ids[first_case.id][resolved_case.id] = None
    if refusals:
        lines = first_lines(list(_refusals(refusals)))
        raise Impossible(
            f"{len(refusals)} of the suite's cases cannot be built; exclude them in the suite or with --skip:\n{lines}"
        )
    equal_cases = {name: tuple(names) for name, names in equal_ids.items()}
    return Plan(tuple(case_by_identity.values()), equal_cases, idle_sizes=_idle_sizes(sizes))


def _sizes(case: Case, resolved_case: Case) -> list[tuple[Parts, int | None]]:
    """A case's parts as written, with the LSTM input size that they really have; empty for a user's own model."""
    parts, model_parts = case.architecture, resolved_case.architecture
    return [(parts, model_parts.lstm_input)] if isinstance(parts, Parts) and isinstance(model_parts, Parts) else []


def _idle_sizes(sizes: Sequence[tuple[Parts, int | None]]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The LSTM input sizes that the suite asks for and no case has, and the reducers for which it asks."""
    widths = {size for _, size in sizes}
    pairs = [(parts.lstm_input, parts.reducer.name) for parts, _ in sizes if parts.lstm_input not in {None, *widths}]
    return tuple(sorted({size for size, _ in pairs if size})), tuple(dict.fromkeys(name for _, name in pairs))


def _refusals(refusals: dict[str, str]) -> Iterator[str]:
    """Yield a line for each reason, with the first case that it applies to."""
    for reason in dict.fromkeys(refusals.values()):
        first, *others = [case for case, cause in refusals.items() if cause == reason]
        yield f"  {first}{f' and {len(others)} more' if others else ''}: {reason}"


def resolve(case: Case) -> Case:
    """Return the case with its model's real LSTM input size. Raises ConvbenchError if it cannot be built.

    A user's own model is not built here: its faults fail only that case, when it is measured.
    """
    return _build(case)[0]


def _build(case: Case) -> tuple[Case, subject.Subject | None]:
    """Return the resolved case, and its model on ``meta``, or None for a user's own model."""
    try:
        return _assemble(case)
    except ConvbenchError:
        raise
    except Exception as error:
        raise Impossible(located(error)) from error


def _assemble(case: Case) -> tuple[Case, subject.Subject | None]:
    if case.trial:
        refuse_unlearnable(case)
    else:
        scenarios.get(case.scenario)
    refuse_misplaced(case)
    parts = case.architecture
    if not isinstance(parts, Parts):
        return case, None
    size = vector_size(parts.reducer, map_shape(parts, case.clip), parts.lstm_input)
    resolved_case = replace(case, architecture=replace(parts, lstm_input=size))
    return resolved_case, subject.assemble(resolved_case.eager, seed=0, device="meta")


def _identity(case: Case) -> object:
    """A value that is equal for two cases exactly if they are the same model called the same way."""
    parts = case.architecture
    if not isinstance(parts, Parts):
        return case
    layers = _torch_layers(parts.reducer, map_shape(parts, case.clip), parts.lstm_input)
    return replace(case, architecture=replace(parts, reducer=Choice(layers))) if layers else case


@lru_cache(maxsize=4096)
def _torch_layers(reducer: Choice, features: Features, lstm_input: int | None) -> str | None:
    """One of our reducers spelled out, if it is made of torch's own layers only.

    The representation of ours tells everything; a user's layers may be shared, frozen or begin with other numbers.
    """
    if reducers.get(reducer.name).origin != OWN:
        return None
    with torch.device("meta"):
        module = build_reducer(reducer, features, lstm_input)
    if all(type(layer).__module__.startswith("torch.nn.") for layer in module.modules()):
        return repr(module)
    return None


def _refuse_too_large(case: Case, twin: subject.Subject | None, available_bytes: int) -> None:
    size = _needed_bytes(case, twin)
    if size > available_bytes:
        raise Impossible(
            f"needs at least {gib(size)} for weights, clip and feature map, and "
            f"{gib(available_bytes)} are available: use a smaller clip, LSTM input or batch"
        )


def _refuse_too_many_clips(case: Case, training: Training, available_bytes: int) -> None:
    """Raise Impossible if drawn clips, which are all in memory at once, do not fit.

    A user's own files and functions may have fewer clips than the training asks for, so they are not checked.
    """
    if not case.trial or not case.trial.trains or case.device != "cpu":
        return
    task, options = case.trial.task, dict(case.trial.task.options)
    if task.is_imported or "path" in options:
        return
    train_clips = int(options.get("train_clips") or training.train_clips)
    count = train_clips + training.val_clips + training.test_clips
    size = FLOAT_BYTES * count * case.clip.frames * case.clip.height * case.clip.width
    if size > available_bytes:
        raise Impossible(
            f"needs at least {gib(size)} for {count:,} clips of {task}, and {gib(available_bytes)} are available: "
            "use a smaller clip, or fewer (training.train_clips, val_clips and test_clips)"
        )


def needed_bytes(case: Case) -> int:
    """The fewest bytes that one call holds at once, in float32: weights, the clip, and a feature map of every frame.

    For a user's own model only the clip is known before it is built.
    """
    return _needed_bytes(*_build(case))


def _needed_bytes(case: Case, twin: subject.Subject | None) -> int:
    parts, clip = case.architecture, case.clip
    if twin is None or not isinstance(parts, Parts):
        return FLOAT_BYTES * clip.batch * clip.frames * clip.channels * clip.height * clip.width
    maps = case.frames_per_call * prod(map_shape(parts, case.clip))
    return weights_bytes(twin.model) + twin.inputs.bytes + maps * FLOAT_BYTES
