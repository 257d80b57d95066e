"""The fastest in other situations: with other surroundings, in another scenario, on another clip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from convbench.analysis.costs.headlines import Leader
from convbench.analysis.costs.ranking import Contender
from convbench.analysis.results import Result, sustained_rate
from convbench.core.record import Parts
from convbench.core.text import counted, some_long
from convbench.report.words import units
from convbench.report.words.names import model, place, setup

SHOWN = 6
"""Number of models that a ranking of own models and ours names behind the fastest."""
SITUATIONS = 3
"""Situations that get a sentence each; the others are counted."""


def sentences(leaders: Sequence[Leader], pick: Result) -> list[str]:
    """Return the fastest of each other situation, each described by its differences from the pick's."""
    texts = [_sentence(leader, pick) for leader in leaders[:SITUATIONS]]
    count = len(leaders) - SITUATIONS
    return [*texts, f"The table of cases has {counted(count, 'more situation')}."] if count > 0 else texts


def together(ranking: Sequence[Contender]) -> str:
    """Rank own models and the fastest of ours in each surroundings in one sentence, and say what it compares."""
    if not ranking:
        return ""
    shown: dict[object, Contender] = {}
    for contender in ranking:
        case = contender.result.case
        shown.setdefault(case.surroundings if isinstance(case.architecture, Parts) else case.architecture, contender)
    fastest, *others = shown.values()
    texts = [f"{_network(contender.result)} takes {units.speedup(contender.factor)} its time" for contender in others]
    case = fastest.result.case
    return (
        f"Your own models and ours in one ranking ({case.variant_name}, {case.scenario}, the same clip): fastest is "
        f"{_network(fastest.result)}; {some_long(texts, SHOWN)}. They are different networks, so this compares the "
        "cost of a call, not reducers or accuracies."
    )


def _network(result: Result) -> str:
    """Return ``gap, LSTM input 32 on conv with lstm128``, or a user's own model."""
    parts = result.case.architecture
    return f"{model(result)}{place(parts)}" if isinstance(parts, Parts) else model(result)


def surroundings(result: Result, leaders: Sequence[Leader], *, beside_name: bool) -> str:
    """Return `` on the conv backbone with lstm64 in training``: the backbone, and whatever differs from the leaders'.

    The threads are left out: they stand beside the latency. ``beside_name`` leaves out what the model's name says.
    """
    parts, situation = result.case.architecture, _situation(result, leaders)
    situation.pop("threads", None)
    if not isinstance(parts, Parts):
        return "".join(f" {text}" for text in situation.values())
    # the backbone is always named, so it is no difference here
    other_parts = [replace(other, backbone=parts.backbone) for other in _parts(leaders)]
    return " ".join(
        (f" on the {parts.backbone} backbone", *_particulars(parts, other_parts, beside_name), *situation.values())
    )


def whereabouts(result: Result, leaders: Sequence[Leader], *, beside_name: bool = False) -> str:
    """Return `` on conv in training with 1 thread``: whatever differs from the leaders'; empty if nothing does.

    ``beside_name`` leaves out what the model's name says.
    """
    parts = result.case.architecture
    texts = _particulars(parts, _parts(leaders), beside_name) if isinstance(parts, Parts) else []
    return "".join(f" {text}" for text in (*texts, *_situation(result, leaders).values()))


def population(result: Result, leaders: Sequence[Leader]) -> str:
    """Return where the models are that are counted with this one: `` of your own``, `` on conv with lstm128``.

    The sort is named if the run has your own models and ours, and otherwise only what differs from the leaders'.
    """
    parts, place = result.case.architecture, whereabouts(result, leaders)
    if len(_parts(leaders)) == (len(leaders) if isinstance(parts, Parts) else 0):
        return place
    if not isinstance(parts, Parts):
        return f" of your own{place}"
    texts = (f"on {parts.backbone}", f"with {parts.rnn}", *_particulars(parts, _parts(leaders)))
    return "".join(f" {text}" for text in dict.fromkeys((*texts, *_situation(result, leaders).values())))


def _parts(leaders: Sequence[Leader]) -> list[Parts]:
    return [parts for leader in leaders if isinstance(parts := leader.result.case.architecture, Parts)]


def _situation(result: Result, leaders: Sequence[Leader]) -> dict[str, str]:
    """Return the parts of the situation that differ from the leaders', and the scenario if it is not inference.

    The number type is left out: it belongs to the variant and is named with it.
    """
    words = _group(result)
    keys = {name for leader in leaders for name, text in _group(leader.result).items() if text != words[name]}
    names = {"scenario"} if result.case.scenario != "inference" else set()
    names |= keys - {"scenario", "dtype"}
    return {name: text for name, text in words.items() if name in names and text}


def _sentence(leader: Leader, pick: Result) -> str:
    result = leader.result
    assert result.latency
    frame_rate = sustained_rate(result.record)
    rate = f", {units.count(frame_rate[0])} frames/s sustained at p{frame_rate[1]}" if frame_rate else ""
    tie = f", tied with {counted(leader.tie_count, 'other')}" if leader.tie_count else ""
    seconds = units.median(result.latency)
    return f"Fastest {_place(result, pick)}: {setup(result)} ({seconds} a call{rate}){tie}."


def _place(result: Result, pick: Result) -> str:
    words, pick_words = _group(result), _group(pick)
    group = " ".join(text for name, text in words.items() if text and text != pick_words[name])
    return " ".join(filter(None, (_around(result, pick), group))) or "elsewhere"


def _group(result: Result) -> dict[str, str]:
    group = result.group
    return {
        "scenario": f"in {'training' if group.scenario == 'train' else group.scenario}",
        "dtype": f"in {group.dtype}" if group.dtype else "",
        "device": f"on {group.device}",
        "clip": f"on clip {group.clip}",
        "threads": f"with {counted(group.threads, 'thread')}" if group.threads else "",
        "environment": f"in environment {group.environment}",
    }


def _around(result: Result, pick: Result) -> str:
    parts, pick_parts = result.case.architecture, pick.case.architecture
    if not isinstance(parts, Parts):
        return "of your own models" if isinstance(pick_parts, Parts) else ""
    if not isinstance(pick_parts, Parts):
        return f"of the reducers on {parts.backbone} with {parts.rnn}"
    return " ".join(_particulars(parts, [pick_parts]))


def _particulars(parts: Parts, other_parts: Iterable[Parts], beside_name: bool = False) -> list[str]:
    """Return the surroundings of the reducer that differ from any of the others'."""
    words = {
        "backbone": f"on {parts.backbone}",
        "rnn": f"with {parts.rnn}",
        "layer_norm": "after LayerNorm" if parts.layer_norm else "without LayerNorm",
        "head": f"with a head of {parts.head}" if parts.head else "without a head",
    }
    keys = {name for other in other_parts for name in words if getattr(other, name) != getattr(parts, name)}
    if beside_name and parts.layer_norm:
        del words["layer_norm"]
    return [text for name, text in words.items() if name in keys]
