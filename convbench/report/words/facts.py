"""The conditions behind a number in words: machine, protocol and state of a run."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from convbench.analysis.history.series import minute
from convbench.analysis.results import Result, measured_results
from convbench.core import scales
from convbench.core.case import is_training
from convbench.core.comparability import differing
from convbench.core.record import HostGap, RunDescription, Scalar, Training
from convbench.core.storage.merging import SHARD
from convbench.core.text import counted
from convbench.report.words import units
from convbench.report.words.units import percent


def place(run: RunDescription, results: Sequence[Result] = ()) -> str:
    """Return the known facts about machine and software in one line, and when these results were measured."""
    facts = run.environment
    cores = counted(facts["cores"], "core") if facts.get("cores") else None
    versions = (f"{key} {facts[key]}" for key in ("torch", "python") if facts.get(key))
    environments = counted(len(run.environments) - 1, "other environment") if len(run.environments) > 1 else ""
    time = _time(run, results)
    parts = [facts.get("gpu"), facts.get("cpu"), cores, *versions, facts.get("allocator"), environments, time]
    return " · ".join(text if len(text) <= 60 else f"{text[:59]}…" for text in map(str, filter(None, parts)))


def _time(run: RunDescription, results: Sequence[Result]) -> str:
    """Return when a run began, and when its last visit did if that was on another day: it was resumed or merged."""
    starts = [visit.started for result in results for visit in result.record.visits]
    starts += [run.started, *(result.record.started for result in results)]
    minutes = sorted(filter(None, map(minute, starts)))
    if not minutes:
        return run.started  # as stored if it is not a time
    first, last = minutes[0], minutes[-1]
    return f"{first} UTC" if first[:10] == last[:10] else f"{first} to {last} UTC"


def protocol(run: RunDescription) -> dict[str, str]:
    """Return how the suite was measured, in words, by heading."""
    settings = run.protocol
    facts = {
        "Seed": str(settings.seed),
        "Warm-up": f"until two windows agree, at most {units.seconds(settings.max_warmup)}",
        "Sampling": f"until the interval is within ±{percent(settings.target)} of the median, "
        f"at least {counted(settings.min_samples, 'sample')}, at most {units.seconds(settings.max_time)}",
        "Time limit": f"{units.seconds(settings.timeout)} a {'visit' if settings.visits > 1 else 'case'}",
        "Metrics": ", ".join(run.metrics) or "all",
    }
    if any(map(is_training, run.planned)):
        facts["Training"] = _training(settings.training)
    if settings.visits > 1:
        end = "; fewer if the budget ended first" if settings.budget else ""
        facts["Visits"] = (
            f"{settings.visits} fresh processes a case in shuffled rounds, more where the answer was open{end}"
        )
    if run.hosts:
        facts["Hosts"] = hosts(run)
    if run.intervals_meet is not None:
        facts["Two runs agree"] = f"{percent(run.intervals_meet)} of the intervals met in a selftest on this machine"
    if run.visible_slowdown is not None:
        slowdowns = f"slowdowns of {percent(run.visible_slowdown)} or more, by its selftest on this machine (1 thread)"
        facts["The gate sees"] = slowdowns
    return facts


def hosts(run: RunDescription) -> str:
    """Return on how many hosts or in how many shards a run was measured, and how their kinds differ."""
    kinds = Counter(run.hosts.values())
    shards = sum(name.startswith(SHARD) for name in run.hosts)
    numbers = {"host": len(run.hosts) - shards, "shard": shards}
    head = " and ".join(counted(number, noun) for noun, number in numbers.items() if number)
    head += f" of {len(kinds)} kinds" if len(kinds) > 1 else ""
    other_kinds = [
        f"{kinds[name]} with another {', '.join(map(inner_title, differing(run.environment, facts)))}"
        for name, facts in run.environments.items()
        if name != run.fingerprint and kinds[name]
    ]
    gaps = (run.between_hosts,) if isinstance(run.between_hosts, str) else map(_differences, run.between_hosts)
    return ". ".join(filter(None, [head, *other_kinds, " ".join(gaps).rstrip(".")]))


def _differences(gaps: Sequence[HostGap] | str) -> str:
    """Return by how much a run's hosts differ; older versions stored it as a sentence."""
    if isinstance(gaps, str):
        return gaps
    kinds = f"{len(gaps)} kinds of hosts, never ranked together: " if len(gaps) > 1 else ""
    return f"{kinds}{'; '.join(map(_difference, gaps))}."


def _difference(gap: HostGap) -> str:
    return (
        f"{gap.hosts} hosts with one fingerprint, the slowest {scales.percent(gap.slower)} slower than the fastest "
        f"(95 %: {scales.percent(gap.low, gap.high)}) on the cases that they share; their times are corrected for this"
    )


def inner_title(key: str) -> str:
    """Return the ``title`` as it reads within a sentence: ``processor``, ``GPU memory``, ``PyTorch``."""
    words = title(key)
    return words[0].lower() + words[1:] if re.match(r"[A-Z][a-z]+\b", words) else words


def _training(training: Training) -> str:
    return (
        f"{counted(training.steps, 'step')} of Adam with a cosine schedule; "
        f"{counted(training.train_clips, 'clip')} to learn from, {training.val_clips:,} to choose by, "
        f"{training.test_clips:,} to report on"
    )


OF_PLUGINS = ("position", "control")
"""Properties of reducers that records carry among their conditions, but that are no state of the machine."""


TITLES = {
    "cpu": "Processor", "os": "Operating system", "machine": "Architecture", "cpu_capability": "Vector instructions",
    "interop_threads": "Threads between operators", "governor": "Frequency governor", "dirty": "Uncommitted changes",
    "steal": "Taken by the host", "l2": "L2 cache before a call", "driver": "GPU driver", "tf32_cudnn": "TF32 in cuDNN",
    "matmul_precision": "Precision of float32 products", "cudnn_benchmark": "cuDNN tries algorithms",
    "deterministic": "Deterministic algorithms", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO",
    "tensorrt": "TensorRT", "compiler": "C++ compiler",
}  # fmt: skip
"""Titles of facts whose key does not make one."""

DEFAULTS = {"threads": "PyTorch's default threads"}
"""Titles of what the machine would take, if a case is measured with another value: by default with one thread."""

LETTERS = {word.lower(): word for word in ("CPU", "GPU", "CUDA", "cuDNN", "TF32", "SM", "NumPy", "PyTorch", "ONNX")} | {
    "torch": "PyTorch",
}
UNITS: Mapping[str, Callable[[float], str]] = {
    "_bytes": units.size,
    "_s": units.seconds,
    "_mhz": lambda value: f"{value:,.0f} MHz",
    "_c": lambda value: f"{value:g} °C",
    "_mw": lambda value: f"{value / 1000:,g} W",
}
"""Writers of numbers, by the end of their key."""


def environment(run: RunDescription) -> dict[str, str]:
    """Return the machine and software of a run by title, without facts that were not found.

    Each other environment of the run has an entry with the facts that decide and differ.
    """
    facts = {key: value for key, value in run.environment.items() if value is not None}
    others = {
        f"Environment {name}": "; ".join(
            f"{title(key)}: {fact(key, facts.get(key))}" for key in differing(run.environment, facts)
        )
        for name, facts in run.environments.items()
        if name != run.fingerprint
    }
    own_name = {"Environment": run.fingerprint} if others else {}
    return own_name | {DEFAULTS.get(key) or title(key): fact(key, value) for key, value in facts.items()} | others


def title(key: str) -> str:
    """Return ``GPU memory`` for ``gpu_memory_bytes``; environment variables and users' own names stay as they are."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", key):
        return key
    end = next((end for end in UNITS if key.endswith(end)), "")
    stem = key.removesuffix(end)
    if stem in TITLES:
        return TITLES[stem]
    words = " ".join(LETTERS.get(word, word) for word in stem.split("_"))
    return words if words[0].isupper() or words.startswith("cuDNN") else f"{words[0].upper()}{words[1:]}"


CALLS = {
    "inference": "the whole clip",
    "streaming": "one frame, the state carried on",
    "train": "a training step: forward, backward and optimizer",
}
"""What a call is in each built-in scenario."""


def calls(results: Sequence[Result]) -> str:
    """Return ``A call: in streaming one frame, ...``; empty if inference is the only built-in scenario."""
    scenarios = {result.case.scenario for result in measured_results(results) if result.case.trial is None}
    names = [name for name in CALLS if name in scenarios]
    return "" if names in ([], ["inference"]) else f"A call: {'; '.join(f'in {name} {CALLS[name]}' for name in names)}."


def conditions(results: Sequence[Result]) -> dict[str, str]:
    """Return what was recorded per case, by title: the shared value, or the values that occur."""
    values_by_key: dict[str, set[Scalar]] = defaultdict(set)
    for result in measured_results(results):
        for key, value in result.record.conditions.items():
            if key not in OF_PLUGINS and (key != "threads" or result.group.threads is not None):
                values_by_key[key].add(value)
    return {title(key): _values(key, values) for key, values in sorted(values_by_key.items())}


def _values(key: str, values: set[Scalar]) -> str:
    numbers = [value for value in values if isinstance(value, (int, float))]
    is_continuous = len(values) > 1 and any(isinstance(value, float) for value in values)
    if (len(values) > 3 or is_continuous) and len(numbers) == len(values):
        return units.extent(fact(key, min(numbers)), fact(key, max(numbers)))
    words = sorted({fact(key, value) for value in values})
    return ", ".join(words) if len(words) <= 4 else f"{', '.join(words[:3])} and {len(words) - 3} more"


def fact(key: str, value: Scalar) -> str:
    """Return a value in the unit that the end of its key names."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, str):
        return value or units.MISSING
    if key == "cudnn":
        return ".".join(map(str, (int(value) // 10_000, int(value) // 100 % 100, int(value) % 100)))
    writer = next((write for end, write in UNITS.items() if key.endswith(end)), None)
    if writer:
        return writer(value)
    return units.digits(value) if value % 1 else str(value)
