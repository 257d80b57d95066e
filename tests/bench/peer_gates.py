"""Run convbench's gate and its peers on a project: each says by case whether head is slower than base.

``seconds`` is roughly how long one side of a case may be measured. Every tool decides by its own rule, with a threshold
if it has one. A tool that is not installed raises ``Missing``.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from project_of_gate import KINDS

Words = dict[str, str]
Said = dict[str, dict[str, str | float | list[float]]]
"""By case: ``word``, the verdict. For convbench also ``seen``, the estimated slowdown, and the log ratios of pairs."""
TANGO_SECONDS = 1.0
"""Seconds in which tango promises to find one per cent, nine times in ten."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Missing(Exception):
    """Raised for a tool that is not installed here."""


def convbench(project: Path, _: float, detect: float, environment: Words, *more: str) -> Said:
    """Run ``convbench check --base base``, which takes the time it needs; ``more`` are options of the command."""
    allocator = "glibc-arena" if "MALLOC_MMAP_MAX_" in environment else "glibc"
    words = ["-m", "convbench", "check", "suite.yaml", "--base", "base", "--json", "reports/check.json"]
    _run(
        project,
        [sys.executable, *words, "--allocator", allocator, "--detect", f"{detect:g}", *more],
        environment,
        (0, 1, 3),
    )
    from convbench.check import decision, outcome, verdict

    judged = verdict.verdicts(outcome.read(project / "reports" / "check.json"))
    return {
        _kind(case_verdict.case.id): {
            "word": case_verdict.word,
            "seen": decision.ratio(case_verdict.case.logs).estimate - 1 if case_verdict.case.logs else 0.0,
            "logs": [round(log, 5) for log in case_verdict.case.logs],
            "confirmation": [round(triple.middle, 5) for triple in case_verdict.case.triples],
        }
        for case_verdict in judged
    }


def pytest_benchmark(project: Path, seconds: float, detect: float, environment: Words, statistic: str = "min") -> Said:
    """Save base and compare head with ``--benchmark-compare-fail=STATISTIC:DETECT%``."""
    _need("pytest_benchmark")
    store = f"--benchmark-storage=file://{project}/.benchmarks"
    common = ["-p", "no:cacheprovider", "-q", "--benchmark-only", f"--benchmark-max-time={seconds}", store]
    common += ["--benchmark-warmup=on", "-p", "no:randomly"]
    run = [sys.executable, "-m", "pytest", *common]
    _run(project.parent / "base", [*run, "--benchmark-save=base"], environment, (0,))
    failing = ["--benchmark-compare", f"--benchmark-compare-fail={statistic}:{detect:g}%"]
    output = _run(project.parent / "head", [*run, *failing], environment, (0, 1))
    red = set(re.findall(r"test_speed\[(\w+)\][^\n]*has failed", output))
    return _called(red)


def pyperf(project: Path, seconds: float, detect: float, environment: Words) -> Said:
    """Run ``pyperf compare_to --min-speed DETECT``: red is significant by its t-test and slower by DETECT."""
    _need("pyperf")
    for side in ("base", "head"):
        (project / f"{side}.json").unlink(missing_ok=True)
        values = max(1, round(seconds / 6 / 0.15))
        words = ["--processes=6", f"--values={values}", "--warmups=1", "--inherit-environ=" + ",".join(environment)]
        command = [sys.executable, "perf.py", *words, "-o", str(project / f"{side}.json"), "--quiet"]
        _run(project.parent / side, command, environment, (0,))
    compare = [sys.executable, "-m", "pyperf", "compare_to", "base.json", "head.json", f"--min-speed={detect:g}"]
    output = _run(project, compare, environment, (0,))
    red = set(re.findall(r"^(\w+): .*slower", output, re.MULTILINE))
    return _called(red)


def asv(project: Path, seconds: float, detect: float, environment: Words) -> Said:
    """Run ``asv continuous --factor 1+DETECT`` in its own environments, which see this interpreter's torch."""
    _need("asv")
    _need("virtualenv")
    site = Path(importlib.util.find_spec("torch").origin).parents[1]
    path = "import site, pathlib; pathlib.Path(site.getsitepackages()[0], 'lent.pth').write_text('{}\\n{}\\n')"
    config = {
        "version": 1, "project": "bench", "repo": str(project), "branches": ["main"], "environment_type": "virtualenv",
        "pythons": [f"{sys.version_info.major}.{sys.version_info.minor}"], "benchmark_dir": "benchmarks",
        "build_command": [], "uninstall_command": [],
        "install_command": [f'python -c "{path.format(site, "{build_dir}")}"'],
    }  # fmt: skip
    (project / "asv.conf.json").write_text(json.dumps(config))
    home = environment | {"HOME": str(project.parent)}
    _run(project, [sys.executable, "-m", "asv", "machine", "--yes"], home, (0,))
    rounds = ["--attribute", "rounds=4", "--attribute", f"sample_time={max(0.01, seconds / 40):.3g}"]
    words = [
        "continuous",
        f"--factor={1 + detect / 100}",
        "--show-stderr",
        "--interleave-rounds",
        *rounds,
        "base",
        "head",
    ]
    output = _run(project, [sys.executable, "-m", "asv", *words], home, (0, 1))
    red = set(re.findall(r"^\|\s*\+.*time_net\('(\w+)'\)", output, re.MULTILINE))
    return _called(red)


def tango(project: Path, seconds: float, detect: float, environment: Words) -> Said:
    """Apply tango-bench's method and rule, with DETECT as its threshold: both sides run in one process, in turns.

    A pair is a call of each side. Pairs beyond 1.5 interquartile ranges are cut, equally many on either side. Red is a
    mean difference of at least 2.6 standard errors, of more than half a per cent, and over the threshold.
    """
    red = set()
    for kind in KINDS:
        command = [sys.executable, "tango.py", str(project.parent), kind, str(min(seconds, TANGO_SECONDS))]
        base, differences = json.loads(_run(project, command, environment, (0,)).splitlines()[-1])
        inliers = _without_outliers(sorted(differences))
        error = stdev(inliers) / math.sqrt(len(inliers))
        share = mean(inliers) / base
        if mean(inliers) >= 2.6 * error and share > max(0.005, detect / 100):
            red.add(kind)
    return _called(red)


def _without_outliers(values: list[float]) -> list[float]:
    low, high = values[len(values) // 4], values[len(values) * 3 // 4 - 1]
    below = sum(value < low - 1.5 * (high - low) for value in values)
    above = sum(value > high + 1.5 * (high - low) for value in values)
    cut = min(below, above)
    return values[cut : len(values) - cut]


TOOLS: dict[str, Callable[[Path, float, float, Words], Said]] = {
    "convbench": convbench,
    "convbench, one case": lambda *words: {
        kind: verdict
        for kind, verdict in convbench(*words, "--only", f"*kind={KINDS[2]})*").items()
        if kind == KINDS[2]
    },
    "pytest-benchmark min": lambda *words: pytest_benchmark(*words, statistic="min"),
    "pytest-benchmark median": lambda *words: pytest_benchmark(*words, statistic="median"),
    "pyperf": pyperf,
    "asv": asv,
    "tango's rule": tango,
}


def _called(red: set[str]) -> Said:
    return {kind: {"word": "regression" if kind in red else "ok"} for kind in KINDS}


def _kind(case: str) -> str:
    match = re.search(r"kind=(\w+)", case)
    return match.group(1) if match else KINDS[0]


def _need(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise Missing(f"{module} is not installed: pip install -r requirements-bench.txt")


def _run(cwd: Path, command: list[str], environment: Words, fine: tuple[int, ...]) -> str:
    everything = {**os.environ, **ONE_THREAD, **environment}
    done = subprocess.run(command, cwd=cwd, env=everything, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode not in fine:
        raise RuntimeError(
            f"{' '.join(command[:6])} ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}"
        )
    return done.stdout + done.stderr
