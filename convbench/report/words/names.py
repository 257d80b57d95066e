"""What a reader calls a case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress

from convbench.analysis.results import Group, Result
from convbench.core.record import Parts


def reducer(result: Result) -> str:
    """The reducer with its options, or a user's whole model."""
    architecture = result.case.architecture
    return str(architecture.reducer if isinstance(architecture, Parts) else architecture)


def column(results: Iterable[Result]) -> str:
    """What a column of ``reducer`` holds: of a user's whole models alone it is ``model``."""
    alone = {not isinstance(result.case.architecture, Parts) for result in results}
    return "model" if alone == {True} else "reducer"


def model(result: Result) -> str:
    """``spatial-softmax, LSTM input 64``"""
    architecture = result.case.architecture
    norm = " after LayerNorm" if isinstance(architecture, Parts) and architecture.layer_norm else ""
    return f"{reducer(result)}, LSTM input {result.lstm_input:,}{norm}" if result.lstm_input else reducer(result)


def trained(parts: Parts) -> str:
    """``spatial-softmax, LSTM input 64``, with LayerNorm where there is one: what was trained or probed."""
    norm = " after LayerNorm" if parts.layer_norm else ""
    return f"{parts.reducer}, LSTM input {parts.lstm_input:,}{norm}" if parts.lstm_input else f"{parts.reducer}{norm}"


def threads_of(group: Group) -> str:
    """``, 2 threads``; nothing where that was not noted."""
    threads = group.threads
    return f", {threads} {'thread' if threads == 1 else 'threads'}" if threads else ""


def setup(result: Result) -> str:
    """``spatial-softmax, LSTM input 64, compile``"""
    return f"{model(result)}, {result.case.variant_name}"


def around_reducer(result: Result) -> str:
    """What stands before and behind the reducer: ``conv, lstm128``."""
    parts = result.case.architecture
    if not isinstance(parts, Parts):
        return "whole models"
    return f"{parts.backbone}, {parts.rnn}{' after LayerNorm' if parts.layer_norm else ''}"


def same(result: Result) -> str:
    """What is alike in all that a case is compared with: ``conv, lstm128, clip 1x16x3x64x64, eager, ...``."""
    case = result.case
    place = (f"clip {case.clip}", case.variant_name, case.scenario, case.device)
    return ", ".join((around_reducer(result), *place)) + threads_of(result.group)


def apart(ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """What tells these case ids apart, ``flatten/8192/eager`` each, and the parts that all of them share."""
    paths = [case.split("/") for case in ids]
    if len(ids) < 2 or len({len(path) for path in paths}) > 1:
        return list(ids), []
    differs = [len(set(values)) > 1 for values in zip(*paths, strict=True)]
    shared = [part for part, telling in zip(paths[0], differs, strict=True) if not telling]
    return ["/".join(compress(path, differs)) for path in paths], shared
