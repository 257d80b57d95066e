"""Quality as the page shows it: per task the answer in words and a table, then learning rates, controls and probes.

Trial records -> plain data (tested) -> ``templates/quality.html`` (thin).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from convbench.analysis.choice.choose import Recommendation
from convbench.analysis.quality.qualities import (
    Budget,
    Control,
    LinearProbe,
    Quality,
    by_task,
    controls,
    equal_limits,
    linear_probes,
)
from convbench.analysis.quality.qualities import qualities as gathered
from convbench.analysis.quality.standing import standings
from convbench.analysis.results import Result
from convbench.core.record import Clip, Parts, Record
from convbench.report.words import advice, quality, units
from convbench.report.words.names import trained
from convbench.report.words.numbers import mean, percent

ABOVE = 0.05
"""How far above what is left a control may be: beyond it something else gives the label away."""


def section(found: Sequence[Result], recommended: Sequence[Recommendation]) -> dict[str, Any] | None:
    """What the template is filled with, None where quality was not run."""
    records = [one.record for one in found]
    tasks, probes = by_task(gathered(records)), linear_probes(records)
    if not tasks and not probes:
        return None
    answers = {(one.task, one.clip): one for one in recommended}
    budgets = {name: _cut(records, name) for name in ("flops", "seconds")}
    limits = {name: equal_limits(records, name) for name in budgets}  # type: ignore[arg-type]
    return {
        "tasks": [_task(name, clip, several, answers.get((name, clip)), budgets, limits)
                  for (name, clip), several in tasks.items()],
        "controls": [_control(one) for one in controls(records)],
        "probes": [_probe(one) for one in sorted(probes, key=_where, reverse=True)],
        "probed": quality.probed(probes),
        "series": sorted({one.series for one in found if one.case.trial}),
    }  # fmt: skip


Key = tuple[Parts, Clip, str]
Cut = Mapping[Key, Quality]


def _cut(records: Sequence[Record], budget: Budget) -> Cut:
    """The same runs, cut at the largest budget that all of a task's runs reached."""
    found = gathered(records, budget, equal_limits(records, budget))
    return {(one.architecture, one.clip, one.task): one for one in found}


def _task(
    name: str, clip: Clip, several: Sequence[Quality], answer: Recommendation | None,
    budgets: Mapping[str, Cut], limits: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:  # fmt: skip
    ranked = standings(several)
    unsound = [one for one in several if not one.by_seed]
    first = several[0]
    said = advice.sentences(answer) if answer else []
    rates = sorted({rate for one in several for rate in one.by_rate})
    places = {(one.architecture.backbone, one.architecture.rnn) for one in several}
    return {
        "name": name,
        "clip": str(clip),
        "sentences": quality.task(several),
        "advice": said,
        "rows": [
            *(_row(one.quality, "best" if i == 0 else "tied" if one.tied else "", budgets, len(places) > 1)
              for i, one in enumerate(ranked)),
            *(_row(one, "", budgets, len(places) > 1) for one in unsound),
        ],
        "several_places": len(places) > 1,
        "chance": percent(first.chance) if first.chance else units.MISSING,
        "majority": percent(first.majority) if first.majority is not None else units.MISSING,
        "flops": units.flops(limits["flops"].get(name)),
        "seconds": units.seconds(limits["seconds"].get(name)),
        "rates": [f"{rate:g}" for rate in rates],
        "tuned": quality.tuned(several),
        "grid": [_grid(one, rates) for one in several] if len(rates) > 1 else [],
    }  # fmt: skip


def _row(one: Quality, standing: str, budgets: Mapping[str, Cut], with_place: bool) -> dict[str, Any]:
    key = (one.architecture, one.clip, one.task)
    parts = one.architecture
    ran = one.ended + one.failed
    lost = (("collapsed", one.collapsed), ("still learning", one.unconverged), ("failed", one.failed))
    return {
        "series": parts.reducer.name,
        "reducer": str(parts.reducer) + (" + LayerNorm" if parts.layer_norm else ""),
        "place": f"{parts.backbone}, {parts.rnn}" if with_place else "",
        "lstm_input": f"{parts.lstm_input:,}" if parts.lstm_input else units.MISSING,
        "accuracy": _mean(one),
        "standing": standing,
        "seeds": f"{len(one.by_seed)} of {ran}",
        "flops": _mean(budgets["flops"].get(key)),
        "seconds": _mean(budgets["seconds"].get(key)),
        "rate": f"{one.learning_rate:g}{f' ({one.rate_edge})' if one.rate_edge else ''}",
        "train": percent(one.train) if one.train is not None else units.MISSING,
        "lost": ", ".join(f"{number} {word}" for word, number in lost if number),
    }


def _mean(one: Quality | None) -> str:
    return mean(one) if one else units.MISSING


def _grid(one: Quality, rates: Sequence[float]) -> dict[str, Any]:
    cells = [percent(one.by_rate[rate]) if rate in one.by_rate else units.MISSING for rate in rates]
    chosen = rates.index(one.learning_rate)
    return {
        "series": one.architecture.reducer.name,
        "name": trained(one.architecture),
        "cells": [(cell, place == chosen) for place, cell in enumerate(cells)],
        "spread": f"{100 * one.spread:.1f}",
    }


def _control(one: Control) -> dict[str, str]:
    reached = statistics.fmean(one.by_seed.values())
    verdict = ""
    if one.expected is not None:
        verdict = "as expected" if reached <= one.expected + ABOVE else "not as expected"
    return {
        "control": one.control,
        "task": one.task,
        "series": one.architecture.reducer.name,
        "name": trained(one.architecture),
        "expected": f"at most {percent(one.expected)}" if one.expected is not None else "nothing is taken away",
        "found": f"{percent(reached)} ({quality.count(len(one.by_seed), 'seed')})",
        "chance": percent(one.chance) if one.chance is not None else units.MISSING,
        "verdict": verdict,
    }


def _probe(one: LinearProbe) -> dict[str, str]:
    return {
        "series": one.architecture.reducer.name,
        "reducer": str(one.architecture.reducer),
        "backbone": str(one.architecture.backbone),
        "lstm_input": f"{one.architecture.lstm_input:,}" if one.architecture.lstm_input else units.MISSING,
        "where": f"{_where(one):.2f}" if one.where else units.MISSING,
        "what": percent(statistics.fmean(one.what.values())) if one.what else units.MISSING,
        "seeds": str(max(len(one.where), len(one.what))),
    }


def _where(one: LinearProbe) -> float:
    return statistics.fmean(one.where.values()) if one.where else float("-inf")
