"""What a reader calls a case."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import compress

from convbench.analysis.choice.candidates import Candidate
from convbench.analysis.quality.qualities import Quality
from convbench.analysis.results import Group, Result
from convbench.core.case import Options, common_options
from convbench.core.record import Parts, Whole
from convbench.core.text import counted, cut, cut_name, one_line

LONG = 26
"""Characters of a name beside a mark."""
PACKAGES = re.compile(r"(?<![\w.])(?:\w+\.)+(?=\w+:\w)")
OPTIONS = re.compile(r"\(([^()]*)\)")


def reducer(result: Result) -> str:
    """The reducer with its options, or a user's whole model."""
    architecture = result.case.architecture
    return str(architecture.reducer) if isinstance(architecture, Parts) else whole_name(architecture, result.common)


def kind(results: Iterable[Result]) -> str:
    """The word for what is compared: ``reducer``, or ``model`` where all are a user's whole models."""
    kinds = {not isinstance(result.case.architecture, Parts) for result in results}
    return "model" if kinds == {True} else "reducer"


def model(result: Result) -> str:
    """``spatial-softmax, LSTM input 64``"""
    architecture = result.case.architecture
    return parts_name(architecture) if isinstance(architecture, Parts) else whole_name(architecture, result.common)


def whole_name(model: Whole, common: Options) -> str:
    """``net:build(k=3)``: a user's model with the options that it does not share with all others of its name."""
    options = tuple(option for option in model.choice.options if option not in common)
    return str(replace(model.choice, options=options))


def parts_name(parts: Parts) -> str:
    """``spatial-softmax, LSTM input 64``, with LayerNorm where there is one: what was trained or probed."""
    size = f", LSTM input {parts.lstm_input:,}" if parts.lstm_input else ""
    return f"{parts.reducer}{size}{after_norm(parts)}"


def configuration(quality: Quality) -> str:
    """``fc, LSTM input 64 on conv with lstm128``: what was trained, and where, if its task was in several places."""
    return f"{parts_name(quality.architecture)}{around(quality)}"


def advisable(candidate: Candidate) -> str:
    """``fc, LSTM input 64 on conv with lstm128, compile``: what was trained, and how it is run."""
    return f"{configuration(candidate.quality)}, {candidate.result.case.variant_name}"


def around(quality: Quality) -> str:
    """`` on conv with lstm128``, what stands around the reducer; nothing where it is the same in all of its task."""
    return place(quality.architecture) if quality.several_places else ""


def place(parts: Parts) -> str:
    """`` on conv with lstm128``"""
    return f" on {parts.backbone} with {parts.rnn}"


def after_norm(architecture: Parts | Whole) -> str:
    """`` after LayerNorm``, what the LSTM's input went through; nothing where it went through none."""
    return " after LayerNorm" if isinstance(architecture, Parts) and architecture.layer_norm else ""


def with_norm(parts: Parts) -> str:
    """``gap + LayerNorm``: the reducer with its options and what follows it."""
    return f"{parts.reducer}{' + LayerNorm' if parts.layer_norm else ''}"


def labels(architectures: Sequence[Parts | Whole]) -> list[str]:
    """``fc 64`` beside a mark; with the reducer's options, or what stands around it, where another has others.

    A user's own model is named whole, but for what it has in common with the others.
    """
    common = common_options(architectures)
    plain_names = [_label(architecture, common, full=False) for architecture in architectures]
    names = [
        _label(architecture, common, full=plain_names.count(name) > 1)
        for architecture, name in zip(architectures, plain_names, strict=True)
    ]
    places = [_around(architecture) for architecture in architectures]
    contexts: dict[str, set[str]] = defaultdict(set)
    for name, place in zip(names, places, strict=True):
        contexts[name].add(place)
    return [f"{name}{place if len(contexts[name]) > 1 else ''}" for name, place in zip(names, places, strict=True)]


def _around(architecture: Parts | Whole) -> str:
    if not isinstance(architecture, Parts):
        return ""
    return f" on {cut_name(one_line(str(architecture.backbone)), LONG)} with {architecture.rnn}"


def _label(architecture: Parts | Whole, common: Mapping[str, Options], full: bool) -> str:
    if not isinstance(architecture, Parts):
        return one_line(whole_name(architecture, common[architecture.model.name]))
    name = str(architecture.reducer) if full else architecture.reducer.name
    size = f" {architecture.lstm_input:,}" if architecture.lstm_input else ""
    return f"{cut_name(one_line(name), LONG)}{size}{' LayerNorm' if architecture.layer_norm else ''}"


def threads_of(group: Group) -> str:
    """``, 2 threads``; nothing where that was not noted."""
    threads = group.threads
    return f", {counted(threads, 'thread')}" if threads else ""


def places(groups: Sequence[Group]) -> list[str]:
    """``inference, cpu`` of each, with the clip, the threads, the number type and the machine where these differ."""
    varying_names = {name for name in Group._fields if len({getattr(group, name) for group in groups}) > 1}
    return [f"{group.scenario}, {group.device}{_particulars(group, varying_names)}" for group in groups]


def _particulars(group: Group, varying_names: Container[str]) -> str:
    texts = {
        "clip": f", clip {group.clip}",
        "threads": threads_of(group),
        "dtype": f", {group.dtype}",
        "environment": f", environment {group.environment}",
    }
    return "".join(text for name, text in texts.items() if name in varying_names)


def setup(result: Result) -> str:
    """``spatial-softmax, LSTM input 64, compile``"""
    return f"{model(result)}, {result.case.variant_name}"


def around_reducer(result: Result) -> str:
    """What stands before and behind the reducer: ``conv, lstm128``, ``conv, lstm128, head of 10``."""
    parts = result.case.architecture
    if not isinstance(parts, Parts):
        return "whole models"
    head = f", head of {parts.head}" if parts.head else ""
    return f"{parts.backbone}, {parts.rnn}{after_norm(parts)}{head}"


def same(result: Result) -> str:
    """What a case shares with all that it is compared with: ``conv, lstm128, clip 1x16x3x64x64, eager, ...``."""
    case = result.case
    place = (f"clip {case.clip}", case.variant_name, case.scenario, case.device)
    return ", ".join((around_reducer(result), *place)) + threads_of(result.group)


def apart(ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """What tells these case ids apart, ``flatten/8192/eager`` each, and the parts that all of them share."""
    paths = [case.split("/") for case in ids]
    if len(ids) < 2 or len({len(path) for path in paths}) > 1:
        return list(ids), []
    differs = [len(set(values)) > 1 for values in zip(*paths, strict=True)]
    shared_parts = [part for part, is_telling in zip(paths[0], differs, strict=True) if not is_telling]
    return ["/".join(compress(path, differs)) for path in paths], shared_parts


def brief(ids: Sequence[str]) -> list[str]:
    """``…encoder:build(hidden=32)``: what tells these case ids apart, for a line that is soon replaced by the next.

    Of an import path its last module, and no option that all have; more where two would be called the same. Of a single
    case, which nothing has to tell from others, the beginning.
    """
    texts, _ = apart(ids)
    modules = [PACKAGES.sub("…", name) for name in texts]
    if len(ids) == 1:
        return [cut(name, LONG) for name in modules]
    counts = Counter(option for name in modules for options in OPTIONS.findall(name) for option in options.split(","))

    def distinct(match: re.Match[str]) -> str:
        options = [option for option in match[1].split(",") if counts[option] < len(ids)]
        return f"({','.join(options)})" if options else ""

    short_names = [OPTIONS.sub(distinct, name) for name in modules]
    return short_names if len(set(short_names)) == len(ids) else texts
