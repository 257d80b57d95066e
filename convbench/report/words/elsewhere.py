"""What is fastest where the answer does not hold: with other surroundings, in another scenario, on another clip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from convbench.analysis.costs.headlines import Elsewhere
from convbench.analysis.results import Result, sustained
from convbench.core.record import Parts
from convbench.core.text import counted
from convbench.report.words import units
from convbench.report.words.names import setup

NAMED = 3
"""Situations that have a sentence each; the others are counted."""


def sentences(others: Sequence[Elsewhere], pick: Result) -> list[str]:
    """The fastest of each situation but the pick's, which is named by what is not as in the pick's."""
    texts = [_sentence(other, pick) for other in others[:NAMED]]
    more = len(others) - NAMED
    return [*texts, f"The table of cases has {counted(more, 'more situation')}."] if more > 0 else texts


def surroundings(result: Result, others: Sequence[Elsewhere]) -> str:
    """`` on the conv backbone with lstm64 in training``: the backbone, what else around the reducer others have
    otherwise, and in which situation; but for the threads, which stand beside its latency."""
    parts, situation = result.case.architecture, _situation(result, others)
    situation.pop("threads", None)
    if not isinstance(parts, Parts):
        return "".join(f" {text}" for text in situation.values())
    # the backbone is named in any case
    unlike = [replace(other, backbone=parts.backbone) for other in _parts(others)]
    return " ".join((f" on the {parts.backbone} backbone", *_differing(parts, unlike), *situation.values()))


def here(result: Result, others: Sequence[Elsewhere]) -> str:
    """`` on conv in training with 1 thread``: what others have otherwise; nothing where there are none."""
    parts = result.case.architecture
    around = _differing(parts, _parts(others)) if isinstance(parts, Parts) else []
    return "".join(f" {text}" for text in (*around, *_situation(result, others).values()))


def _parts(others: Sequence[Elsewhere]) -> list[Parts]:
    return [parts for other in others if isinstance(parts := other.result.case.architecture, Parts)]


def _situation(result: Result, others: Sequence[Elsewhere]) -> dict[str, str]:
    """The scenario that is no inference, and what of the rest others have otherwise; the number type, which is the
    variant's, is named with that."""
    words = _group(result)
    unlike = {name for other in others for name, text in _group(other.result).items() if text != words[name]}
    names = {"scenario"} if result.case.scenario != "inference" else set()
    names |= unlike - {"scenario", "dtype"}
    return {name: text for name, text in words.items() if name in names and text}


def _sentence(other: Elsewhere, pick: Result) -> str:
    result = other.result
    assert result.latency
    keeps_up = sustained(result.record)
    rate = f", {units.count(keeps_up[0])} frames/s sustained at p{keeps_up[1]}" if keeps_up else ""
    tied = f", tied with {counted(other.tied, 'other')}" if other.tied else ""
    seconds = units.seconds(result.latency.median)
    return f"Fastest {_where(result, pick)}: {setup(result)} ({seconds} a call{rate}){tied}."


def _where(result: Result, pick: Result) -> str:
    there, own = _group(result), _group(pick)
    group = " ".join(text for name, text in there.items() if text and text != own[name])
    machine = "in another environment" if result.group.environment != pick.group.environment else ""
    where = " ".join(filter(None, (_around(result, pick), group)))
    return ", ".join(filter(None, (where, machine))) or "elsewhere"


def _group(result: Result) -> dict[str, str]:
    group = result.group
    return {
        "scenario": f"in {group.scenario}",
        "dtype": f"in {group.dtype}" if group.dtype else "",
        "device": f"on {group.device}",
        "clip": f"on clip {group.clip}",
        "threads": f"with {counted(group.threads, 'thread')}" if group.threads else "",
    }


def _around(result: Result, pick: Result) -> str:
    there, here = result.case.architecture, pick.case.architecture
    if not isinstance(there, Parts):
        return "of your own models" if isinstance(here, Parts) else ""
    if not isinstance(here, Parts):
        return f"of the reducers on {there.backbone} with {there.rnn}"
    return " ".join(_differing(there, [here]))


def _differing(parts: Parts, others: Iterable[Parts]) -> list[str]:
    """What stands around the reducer that any of the others has otherwise."""
    words = {
        "backbone": f"on {parts.backbone}",
        "rnn": f"with {parts.rnn}",
        "layer_norm": "after LayerNorm" if parts.layer_norm else "without LayerNorm",
        "head": f"with a head of {parts.head}" if parts.head else "without a head",
    }
    unlike = {name for other in others for name in words if getattr(other, name) != getattr(parts, name)}
    return [text for name, text in words.items() if name in unlike]
