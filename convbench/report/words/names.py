"""Names of cases, models and their surroundings, as people read them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import compress

from convbench.analysis.choice.candidates import Candidate
from convbench.analysis.quality.qualities import Quality
from convbench.analysis.results import Group, Result
from convbench.core import metrics
from convbench.core.case import Options, abridged, common_options, common_words
from convbench.core.metric import Metric
from convbench.core.record import Parts, Whole
from convbench.core.text import counted, cut, cut_name, one_line

LSTM = "LSTM"
LONG = 26
"""Greatest length of a name beside a mark, in characters."""
PACKAGES = re.compile(r"(?<![\w.])(?:\w+\.)+(?=\w+:\w)")
OPTIONS = re.compile(r"\(([^()]*)\)")
WHOLE = re.compile(r"^([\w.]+:[\w.]+)(?:\(([^()]+)\))?(?=/\d+x\d+x)")
"""A user's whole model with its options, at the beginning of a case's id and before its clip."""


def reducer(result: Result) -> str:
    """Return the reducer with its options, or a user's whole model."""
    architecture = result.case.architecture
    return str(architecture.reducer) if isinstance(architecture, Parts) else whole_name(architecture, result.common)


def kind(results: Iterable[Result]) -> str:
    """Return the noun for the compared models: ``reducer``, or ``model`` if all are a user's whole models."""
    kinds = {not isinstance(result.case.architecture, Parts) for result in results}
    return "model" if kinds == {True} else "reducer"


def model(result: Result) -> str:
    """Return ``spatial-softmax, LSTM input 64``, or a user's whole model."""
    architecture = result.case.architecture
    return parts_name(architecture) if isinstance(architecture, Parts) else whole_name(architecture, result.common)


def whole_name(model: Whole, common: Options) -> str:
    """Return ``net:build(k=3)``: a user's model with those options that not all models of its name share."""
    choice = model.choice
    options = tuple(option for option, word in zip(choice.options, choice.words, strict=True) if word not in common)
    return str(replace(choice, options=options))


def cell(architecture: Parts | Whole) -> str:
    """Return the recurrent cell, ``LSTM`` or ``GRU``; ``LSTM`` also for a user's own model, which may hold either."""
    return architecture.rnn.cell.upper() if isinstance(architecture, Parts) else LSTM


def common_cell(architectures: Iterable[Parts | Whole]) -> str:
    """Return the recurrent cell of these models, ``RNN`` if they have several."""
    cells = set(map(cell, architectures)) or {LSTM}
    return cells.pop() if len(cells) == 1 else "RNN"


def pick_cell(pick: Result | None) -> str:
    """Return the recurrent cell of a headline's pick, ``LSTM`` without one."""
    return cell(pick.case.architecture) if pick else LSTM


def stage(name: str, cell: str = LSTM) -> str:
    """Return the part of a call by this name as people read it: ``LSTM``, ``compiler's graphs``."""
    return {"lstm": cell, metrics.GRAPHS: "compiler's graphs"}.get(name, name)


def input_size(architectures: Iterable[Parts | Whole]) -> Metric:
    """Return ``metrics.LSTM_INPUT`` in the words for these models: ``GRU input size``, of several cells ``RNN``."""
    name, size = common_cell(architectures), metrics.LSTM_INPUT
    return replace(size, title=size.title.replace(LSTM, name), heading=size.heading.replace(LSTM, name))


def with_article(name: str) -> str:
    """Return ``an LSTM`` or ``a GRU``."""
    return f"{'an' if name == LSTM else 'a'} {name}"


def parts_name(parts: Parts) -> str:
    """Return ``spatial-softmax, LSTM input 64``, with `` after LayerNorm`` if there is one."""
    size = f", {cell(parts)} input {parts.lstm_input:,}" if parts.lstm_input else ""
    return f"{parts.reducer}{size}{after_norm(parts)}"


def configuration(quality: Quality) -> str:
    """Return ``fc, LSTM input 64 on conv with lstm128``; the surroundings only if the task has several."""
    return f"{parts_name(quality.architecture)}{around(quality)}"


def advisable(candidate: Candidate) -> str:
    """Return a configuration with its variant: ``fc, LSTM input 64 on conv with lstm128, compile``."""
    return f"{configuration(candidate.quality)}, {candidate.result.case.variant_name}"


def around(quality: Quality) -> str:
    """Return the reducer's surroundings, `` on conv with lstm128``; empty if they are the same in all of the task."""
    return place(quality.architecture) if quality.several_places else ""


def place(parts: Parts) -> str:
    """Return `` on conv with lstm128``."""
    return f" on {parts.backbone} with {parts.rnn}"


def after_norm(architecture: Parts | Whole) -> str:
    """Return `` after LayerNorm`` if a LayerNorm precedes the LSTM, else nothing."""
    return " after LayerNorm" if isinstance(architecture, Parts) and architecture.layer_norm else ""


def with_norm(parts: Parts) -> str:
    """Return ``gap + LayerNorm``: the reducer with its options, and the LayerNorm if there is one."""
    return f"{parts.reducer}{' + LayerNorm' if parts.layer_norm else ''}"


def labels(architectures: Sequence[Parts | Whole]) -> list[str]:
    """Return a label per mark: ``fc 64``, extended by options or surroundings if two labels would be equal.

    A user's own model has its full name without the options common to all models of that name.
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
    """Return ``, 2 threads``; empty if their number was not recorded."""
    threads = group.threads
    return f", {counted(threads, 'thread')}" if threads else ""


def places(groups: Sequence[Group]) -> list[str]:
    """Return ``inference, cpu`` for each group, with the clip, threads, number type and machine if these vary."""
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
    """Return a model with its variant: ``spatial-softmax, LSTM input 64, compile``."""
    return f"{model(result)}, {result.case.variant_name}"


def around_reducer(result: Result) -> str:
    """Return the stages before and after the reducer: ``conv, lstm128`` or ``conv, lstm128, head of 10``."""
    parts = result.case.architecture
    if not isinstance(parts, Parts):
        return "whole models"
    head = f", head of {parts.head}" if parts.head else ""
    return f"{parts.backbone}, {parts.rnn}{after_norm(parts)}{head}"


def shared_setup(result: Result) -> str:
    """Return what a case shares with all compared cases: ``conv, lstm128, clip 1x16x3x64x64, eager, ...``."""
    case = result.case
    place = (f"clip {case.clip}", case.variant_name, case.scenario, case.device)
    return ", ".join((around_reducer(result), *place)) + threads_of(result.group)


def apart(ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the parts in which each case id differs, such as ``flatten/8192/eager``, and the parts that all share."""
    short_ids = _without_common_options(ids)
    paths = [case.split("/") for case in short_ids]
    if len(ids) < 2 or len({len(path) for path in paths}) > 1:
        return short_ids, []
    differs = [len(set(values)) > 1 for values in zip(*paths, strict=True)]
    shared_parts = [part for part, is_telling in zip(paths[0], differs, strict=True) if not is_telling]
    return ["/".join(compress(path, differs)) for path in paths], shared_parts


def _without_common_options(ids: Sequence[str]) -> list[str]:
    """Write ``…`` for options that all whole models of a name share, as ``Case.short_id`` does."""
    common = common_words((match[1], _options(match)) for match in filter(None, map(WHOLE.match, ids)))
    return [WHOLE.sub(lambda match: abridged(match[1], _options(match), common[match[1]]), case) for case in ids]


def _options(match: re.Match[str]) -> list[str]:
    return match[2].split(",") if match[2] else []


def brief(ids: Sequence[str]) -> list[str]:
    """Shorten case ids to what distinguishes them, for a line that is soon overwritten: ``…encoder:build(hidden=32)``.

    Of an import path only the last module is left, and options that all share are dropped. If two names would become
    equal, more is kept. A single id, which needs no distinction, is cut to its beginning.
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
