"""The page's section on quality: an answer and a table per task, then learning rates, controls and probes.

It turns trial records into plain data, which is tested; ``templates/quality.html`` only lays them out.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from convbench.analysis.choice.recommendation import Recommendation
from convbench.analysis.choice.trade import Trade
from convbench.analysis.quality.controls import ControlledRuns, LinearProbe, controls, linear_probes
from convbench.analysis.quality.lessons import Budget, equal_limits
from convbench.analysis.quality.qualities import Quality, by_task, task_name
from convbench.analysis.quality.qualities import qualities as qualities_of
from convbench.analysis.quality.standing import standings
from convbench.analysis.results import Result
from convbench.core.record import Clip, Parts
from convbench.core.text import counted
from convbench.report.words import advice, units
from convbench.report.words import quality as words
from convbench.report.words.names import configuration, input_size, parts_name, place, with_norm
from convbench.report.words.numbers import mean, percent, shares, sound_runs

ABOVE = 0.05
"""Tolerance of a control, as a share: accuracy further above the expected one means that something leaks the label."""


def section(results: Sequence[Result], recommendations: Sequence[Recommendation]) -> dict[str, Any] | None:
    """Return the template's values, None if quality was not run."""
    records = [result.record for result in results]
    tasks, probes = by_task(qualities_of(records)), linear_probes(records)
    all_probes = linear_probes(records, in_variants=True)
    all_probes.sort(key=lambda probe: words.over_seeds(probe.where), reverse=True)
    if not tasks and not probes:
        return None
    answers = {(answer.task, answer.clip): answer for answer in recommendations}
    names: tuple[Budget, ...] = ("flops", "seconds")
    limits = {name: equal_limits(records, name) for name in names}
    # the same runs, cut at the largest budget that all of a task's runs reached
    budgets = {
        name: {_key(quality): quality for quality in qualities_of(records, name, limits[name])} for name in names
    }
    return {
        "tasks": [_task(name, clip, qualities, answers.get((name, clip)), budgets, limits)
                  for (name, clip), qualities in tasks.items()],
        "controls": _controls(controls(records)),
        "probes": [_probe(probe) for probe in all_probes],
        "probe_size": input_size(probe.architecture for probe in all_probes).heading,
        "probed_in_variants": len(all_probes) > len(probes),
        "probed": words.read_outs(probes),
        "series": sorted({result.series for result in results if result.case.trial}),
    }  # fmt: skip


Key = tuple[Parts, Clip, str]
Cut = Mapping[Key, Quality]


def _key(quality: Quality) -> Key:
    return quality.architecture, quality.clip, quality.task


def _task(
    name: str, clip: Clip, qualities: Sequence[Quality], answer: Recommendation | None,
    budgets: Mapping[Budget, Cut], limits: Mapping[Budget, Mapping[tuple[str, Clip], float]],
) -> dict[str, Any]:  # fmt: skip
    ranking = standings(qualities)
    unsound_qualities = [quality for quality in qualities if not quality.by_seed]
    first_quality = qualities[0]
    rates = sorted({rate for quality in qualities for rate in quality.by_rate})
    return {
        "name": name,
        "title": answer.name if answer else name,
        "clip": str(clip),
        "sentences": words.task(qualities),
        "advice": advice.sentences(answer) if answer else [],
        "rows": [
            *(_row(standing.quality, standing.place, budgets) for standing in ranking),
            *(_row(quality, "", budgets) for quality in unsound_qualities),
        ],
        "size": input_size(quality.architecture for quality in qualities).heading,
        "several_places": first_quality.several_places,
        "chance": percent(first_quality.chance),
        "majority": percent(first_quality.majority),
        "flops": units.flops(limits["flops"].get((name, clip))),
        "seconds": units.seconds(limits["seconds"].get((name, clip))),
        "rates": [f"{rate:g}" for rate in rates],
        "tuned": words.tuning(qualities),
        "grid": [_grid(quality, rates) for quality in qualities] if len(rates) > 1 else [],
        "trades": [_trade(trade) for trade in answer.trades] if answer else [],
    }  # fmt: skip


def _row(quality: Quality, standing: str, budgets: Mapping[Budget, Cut]) -> dict[str, Any]:
    parts = quality.architecture
    losses = (("collapsed", quality.collapsed), ("still learning", quality.unconverged), ("failed", quality.failed))
    return {
        "series": parts.reducer.name,
        "reducer": with_norm(parts),
        "place": f"{parts.backbone}, {parts.rnn}" if quality.several_places else "",
        "lstm_input": units.integer(parts.lstm_input),
        "accuracy": mean(quality),
        "standing": standing,
        "seeds": sound_runs(quality),
        **{name: mean(cut[_key(quality)]) if _key(quality) in cut else units.MISSING for name, cut in budgets.items()},
        "rate": f"{quality.learning_rate:g}{f' ({quality.rate_edge})' if quality.rate_edge else ''}",
        "train": percent(quality.train),
        "lost": ", ".join(f"{number} {word}" for word, number in losses if number),
    }


def _grid(quality: Quality, rates: Sequence[float]) -> dict[str, Any]:
    cells = [percent(quality.by_rate.get(rate)) for rate in rates]
    rate_index = rates.index(quality.learning_rate)
    return {
        "series": quality.architecture.reducer.name,
        "name": configuration(quality),
        "cells": [(cell, index == rate_index) for index, cell in enumerate(cells)],
        "spread": f"{100 * quality.spread:.1f}",
    }


def _trade(trade: Trade) -> dict[str, str]:
    latency = trade.variant.result.latency
    gain, low, high = shares(trade.gain, "+z")
    return {
        "series": trade.variant.quality.architecture.reducer.name,
        "name": configuration(trade.variant.quality),
        "variant": trade.variant.quality.variant,
        "accuracy": mean(trade.variant.quality),
        "gain": f"{gain} [{low}, {high}]",
        "latency": units.median(latency),
        "speedup": units.speedup(trade.speedup) if trade.speedup else units.MISSING,
    }


def _controls(entries: Sequence[ControlledRuns]) -> list[dict[str, str]]:
    """Return one row per control; its task and model name the clip and surroundings if the entries differ in them."""
    clips = {entry.clip for entry in entries}
    places = {place(entry.architecture) for entry in entries}
    return [
        _control(entry, task_name(entry.task, entry.clip, len(clips) > 1),
                 f"{parts_name(entry.architecture)}{place(entry.architecture) if len(places) > 1 else ''}")
        for entry in entries
    ]  # fmt: skip


def _control(control: ControlledRuns, task: str, name: str) -> dict[str, str]:
    accuracy = statistics.fmean(control.by_seed.values())
    verdict = ""
    if control.expected is not None:
        verdict = "as expected" if accuracy <= control.expected + ABOVE else "not as expected"
    return {
        "control": control.control,
        "task": task,
        "series": control.architecture.reducer.name,
        "name": name,
        "expected": f"at most {percent(control.expected)}" if control.expected is not None else "nothing is removed",
        "found": f"{percent(accuracy)} ({counted(len(control.by_seed), 'seed')})",
        "chance": percent(control.chance),
        "verdict": verdict,
    }


def _probe(probe: LinearProbe) -> dict[str, str]:
    return {
        "series": probe.architecture.reducer.name,
        "reducer": str(probe.architecture.reducer),
        "backbone": str(probe.architecture.backbone),
        "variant": probe.variant,
        "lstm_input": units.integer(probe.architecture.lstm_input),
        "where": f"{words.over_seeds(probe.where):.2f}" if probe.where else units.MISSING,
        "what": percent(words.over_seeds(probe.what)) if probe.what else units.MISSING,
        "seeds": str(max(len(probe.where), len(probe.what))),
    }
