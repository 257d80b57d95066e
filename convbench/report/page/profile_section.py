"""The profiles of a run as the page shows them: top operators and stages, eager beside its variants, and memory.

``profile.json`` files -> plain data (tested) -> ``templates/profile.html`` (thin). Times are per call of the trace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convbench.core import profiles
from convbench.report.drawing import Drawing
from convbench.report.drawing.memory_timeline import memory_timeline
from convbench.report.words import units

TOP = 12
Profile = dict[str, Any]


def read(run: Path) -> list[Profile]:
    """The summaries of a run's profiles. Raises ConvbenchError for one that cannot be read."""
    return [profiles.summary(place.directory) for place in profiles.profiles_of(run)]


def groups(profiles: Sequence[Profile]) -> list[dict[str, Any]]:
    """Each model once, eager first and its variants beside it."""
    by_model: dict[str, list[Profile]] = defaultdict(list)
    for profile in profiles:
        by_model[profile["eager"]].append(profile)
    return [_group(model, found) for model, found in sorted(by_model.items())]


def timelines(profiles: Iterable[Profile]) -> list[Drawing]:
    """Memory over a call, a drawing a profile."""
    return [memory_timeline(one["case"], one["memory"]["timeline"], one["memory"]["peak_bytes"]) for one in profiles]


def _group(model: str, found: list[Profile]) -> dict[str, Any]:
    ordered = sorted(found, key=lambda one: (one["case"] != model, one["case"]))
    tables = [_operators(one) for one in ordered]
    names = _top(tables)
    return {
        "model": model,
        "variants": [_variant(one["case"]) for one in ordered],
        "calls": [f"{units.seconds(_median(one['step_s']))} ({one['steps']} calls)" for one in ordered],
        "operators": [{"name": name, "cells": [_cell(table.get(name)) for table in tables]} for name in names],
        "stages": _stages(ordered),
        "peaks": [_peak(one) for one in ordered],
    }


def _operators(one: Profile) -> dict[str, dict[str, float]]:
    """Per call and operator: own and whole seconds, calls, bytes kept, and its stage of most time."""
    sums: dict[str, dict[str, Any]] = {}
    for row in one["operators"]:
        kept = sums.setdefault(row["name"], {"self": 0.0, "total": 0.0, "calls": 0.0, "bytes": 0.0, "stages": {}})
        own = max(row["self_s"], row["device_s"]) / one["steps"]
        kept["self"] += own
        kept["total"] += row["total_s"] / one["steps"]
        kept["calls"] += row["calls"] / one["steps"]
        kept["bytes"] += row["self_bytes"] / one["steps"]
        kept["stages"][row["stage"]] = kept["stages"].get(row["stage"], 0.0) + own
    return sums


def _top(tables: list[dict[str, dict[str, float]]]) -> list[str]:
    most: dict[str, float] = {}
    for table in tables:
        for name, row in table.items():
            most[name] = max(row["self"], most.get(name, 0.0))
    return sorted(most, key=lambda name: (-most[name], name))[:TOP]


def _cell(row: dict[str, Any] | None) -> dict[str, str] | None:
    if row is None:
        return None
    return {
        "self": units.seconds(row["self"]),
        "total": units.seconds(row["total"]),
        "calls": units.digits(row["calls"]),
        "memory": units.size(row["bytes"]) if row["bytes"] > 0 else units.MISSING,
        "stage": max(row["stages"], key=row["stages"].__getitem__),
    }


def _stages(ordered: list[Profile]) -> list[dict[str, Any]]:
    """Operators' own time by stage, a row a stage."""
    sums = [_by_stage(one) for one in ordered]
    stages = sorted({stage for one in sums for stage in one}, key=lambda stage: -max(one.get(stage, 0) for one in sums))
    return [
        {"stage": stage, "cells": [units.seconds(one[stage]) if stage in one else units.MISSING for one in sums]}
        for stage in stages
    ]


def _by_stage(one: Profile) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for row in one["operators"]:
        stage = row["phase"] if row["phase"] == "optimizer" else row["stage"]
        sums[stage] += max(row["self_s"], row["device_s"]) / one["steps"]
    return sums


def _peak(one: Profile) -> dict[str, Any]:
    """What stood at the peak, by kind, largest first."""
    kinds: dict[str, int] = defaultdict(int)
    for kind, _, size in one["memory"]["at_peak"]:
        kinds[kind] += size
    parts = sorted(kinds.items(), key=lambda part: -part[1])
    return {
        "peak": units.size(one["memory"]["peak_bytes"]),
        "kinds": ", ".join(f"{kind} {units.size(size)}" for kind, size in parts if size),
    }


def _variant(case: str) -> str:
    return case.split("/")[-3]


def _median(values: list[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None
