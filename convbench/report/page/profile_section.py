"""The page's section on profiles: top operators and stages, eager beside its variants, and memory.

It turns ``profile.json`` files into plain data, which is tested; ``templates/profile.html`` only lays them out. Times
are per call of the trace.
"""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convbench.analysis.costs.ranking import MARGIN
from convbench.core.case import RNN_TEXT
from convbench.core.grouping import grouped
from convbench.core.scales import BYTES, fitting_unit
from convbench.core.storage import profiles
from convbench.core.text import counted, digest
from convbench.report.drawing import Drawing, log_axes
from convbench.report.drawing.style import HUES, MUTED, TEXT, canvas, short_name
from convbench.report.words import units
from convbench.report.words.names import LSTM, apart, stage

TOP = 12
ProfileData = dict[str, Any]


def read(run: Path) -> list[ProfileData]:
    """Return the summaries of a run's profiles. Raises ConvbenchError for a profile that cannot be read."""
    return [profiles.summary(place.directory) for place in profiles.profiles_of(run)]


def groups(profiles: Sequence[ProfileData]) -> list[dict[str, Any]]:
    """Return each model's tables: eager beside each of its variants, or alone."""
    return [_group(model, pair) for model, members in _by_model(profiles) for pair in _pairs(model, members)]


def _pairs(model: str, members: Sequence[ProfileData]) -> list[list[ProfileData]]:
    """Return the profiles of each table: no more than two, so that they fit a page."""
    eager = [profile for profile in members if profile["case"] == model]
    variants = [profile for profile in members if profile["case"] != model]
    return [[*eager, variant] for variant in variants] or [eager]


def timelines(profiles: Iterable[ProfileData]) -> list[Drawing]:
    """Return drawings of memory over a call, one per profile, in the order of the tables; a model's on one scale."""
    rows = [(profile, _highest_peak(members)) for _, members in _by_model(profiles) for profile in members]
    names, _ = apart([profile["case"] for profile, _ in rows])
    return [_timeline(name, profile["memory"], peak) for name, (profile, peak) in zip(names, rows, strict=True)]


def _highest_peak(profiles: Iterable[ProfileData]) -> float:
    return float(max(profile["memory"]["peak_bytes"] for profile in profiles))


def _timeline(case: str, memory: dict[str, Any], highest: float) -> Drawing:
    """Draw the bytes alive after each allocation and release.

    ``highest`` is the highest peak among the drawings that are compared, so that all have one scale.
    """
    axes = canvas(height=200, left=58, right=14, top=14, bottom=40)
    (factor, unit), points, peak = fitting_unit(highest, BYTES), memory["timeline"], memory["peak_bytes"]
    times, sizes = [1e3 * seconds for seconds, _ in points], [size / factor for _, size in points]
    axes.step(times, sizes, where="post", color=HUES[0], linewidth=1.2)
    axes.axhline(peak / factor, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(0, 1.15 * highest / factor)
    axes.set_xlim(0, max(times) or 1.0)
    axes.text(0.01, 1.02 * peak / factor, f"peak {log_axes.label(peak, 'B', 3)}", transform=axes.get_yaxis_transform(),
              va="bottom", fontsize=9, color=TEXT)  # fmt: skip
    axes.set_xlabel("ms since the call began (profiled)", fontsize=9)
    axes.set_ylabel(f"{unit} alive · lower is better", fontsize=9)
    return Drawing(
        name=f"memory-{digest(case)}",
        title=f"Memory of {short_name(case, 70)}",
        caption=(
            "How to read this: bytes of tensors alive after each allocation and release of one call. It starts with "
            "the memory held between calls (weights, inputs, the optimizer's state). Profiled calls take longer."
        ),
        figure=axes.figure,
    )


def _by_model(profiles: Iterable[ProfileData]) -> list[tuple[str, list[ProfileData]]]:
    by_model = grouped(profiles, lambda profile: str(profile["eager"]))
    return [
        (model, sorted(members, key=lambda profile: (profile["case"] != model, profile["case"])))
        for model, members in sorted(by_model.items())
    ]


def _group(model: str, profiles: list[ProfileData]) -> dict[str, Any]:
    tables = [_operators(profile) for profile in profiles]
    names, match = _top(tables), re.search(f"/{RNN_TEXT}/", model, re.ASCII)
    recurrent = match[2].upper() if match else LSTM
    return {
        "model": model,
        "variants": [_variant(profile["case"], profile["eager"]) for profile in profiles],
        "calls": [_calls(profile) for profile in profiles],
        "operators": [
            {"name": name, "cells": [_cell(table.get(name), recurrent) for table in tables]} for name in names
        ],
        "stages": _stages(profiles, recurrent),
        "peaks": [_peak(profile) for profile in profiles],
    }


def _calls(profile: ProfileData) -> str:
    """Return ``median 3.10 ms (5 calls)``, with the mean if slow calls raise it: operators are shares of the mean."""
    median, mean = statistics.median(profile["step_s"]), statistics.fmean(profile["step_s"])
    mean_text = f", mean {units.seconds(mean)}" if mean > MARGIN * median else ""
    return f"median {units.seconds(median)}{mean_text} ({counted(profile['steps'], 'call')})"


def _operators(profile: ProfileData) -> dict[str, dict[str, float]]:
    """Return by operator, per call: own and whole seconds, calls, bytes kept, and own seconds by stage."""
    sums: dict[str, dict[str, Any]] = {}
    for row in profile["operators"]:
        entry = sums.setdefault(row["name"], {"self": 0.0, "total": 0.0, "calls": 0.0, "bytes": 0.0, "stages": {}})
        self_time = _self_time(row) / profile["steps"]
        entry["self"] += self_time
        entry["total"] += row["total_s"] / profile["steps"]
        entry["calls"] += row["calls"] / profile["steps"]
        entry["bytes"] += row["self_bytes"] / profile["steps"]
        entry["stages"][row["stage"]] = entry["stages"].get(row["stage"], 0.0) + self_time
    return sums


def _top(tables: list[dict[str, dict[str, float]]]) -> list[str]:
    seconds_by_name: dict[str, float] = {}
    for table in tables:
        for name, row in table.items():
            seconds_by_name[name] = max(row["self"], seconds_by_name.get(name, 0.0))
    return sorted(seconds_by_name, key=lambda name: (-seconds_by_name[name], name))[:TOP]


def _cell(row: dict[str, Any] | None, recurrent: str) -> dict[str, str] | None:
    if row is None:
        return None
    return {
        "self": units.seconds(row["self"]),
        "total": units.seconds(row["total"]),
        "calls": units.count(row["calls"]),
        "memory": units.size(row["bytes"]) if row["bytes"] > 0 else units.MISSING,
        "stage": stage(max(row["stages"], key=row["stages"].__getitem__), recurrent),
    }


def _stages(profiles: list[ProfileData], recurrent: str) -> list[dict[str, Any]]:
    """Return the operators' own time, one row per stage."""
    sums = [_by_stage(profile) for profile in profiles]
    parts = sorted(
        {part for times in sums for part in times}, key=lambda part: -max(times.get(part, 0) for times in sums)
    )
    return [
        {
            "stage": stage(part, recurrent),
            "cells": [units.seconds(times[part]) if part in times else units.MISSING for times in sums],
        }
        for part in parts
    ]


def _by_stage(profile: ProfileData) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for row in profile["operators"]:
        part = row["phase"] if row["phase"] == "optimizer" else row["stage"]
        sums[part] += _self_time(row) / profile["steps"]
    return sums


def _self_time(row: dict[str, Any]) -> float:
    """Return the seconds of an operator without those that it calls: on the host, or on the device if longer."""
    return float(max(row["self_s"], row["device_s"]))


def _peak(profile: ProfileData) -> dict[str, Any]:
    """Return the peak memory and its parts by kind, the largest first."""
    kinds: dict[str, int] = defaultdict(int)
    for kind, _, size in profile["memory"]["at_peak"]:
        kinds[kind] += size
    parts = sorted(kinds.items(), key=lambda part: -part[1])
    return {
        "peak": units.size(profile["memory"]["peak_bytes"]),
        "kinds": ", ".join(f"{kind} {units.size(size)}" for kind, size in parts if size),
    }


def _variant(case: str, eager: str) -> str:
    """Return the part of the case's id that stands for ``eager`` in its eager twin's."""
    before, _, after = eager.rpartition("/eager/")
    return case.removeprefix(f"{before}/").removesuffix(f"/{after}")
