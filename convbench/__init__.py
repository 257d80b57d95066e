"""Which reducer and which LSTM input size for a Conv2D -> reducer -> LSTM model: measured, on this machine.

This is the table of contents of the Python API; each name is imported when it is first used. ``convbench.api`` has the
functions, ``convbench.core.record`` the nouns of a suite and a run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from convbench.core.package import __version__ as __version__

if TYPE_CHECKING:
    from convbench.analysis.history.overview import History
    from convbench.api import (
        bisect,
        check,
        compare,
        count,
        executor,
        export_model,
        history,
        load,
        measure,
        open_run,
        register,
        report,
        run,
    )
    from convbench.check.against_base import Check
    from convbench.check.bisection.bisected import Bisected
    from convbench.check.live import Comparison
    from convbench.core.errors import ConvbenchError
    from convbench.core.record import Case, Protocol, Record
    from convbench.measure.live.count import Count
    from convbench.measure.live.measurement import Measurement
    from convbench.report.run import Run
    from convbench.runs.executor import Executor, Host, Job
    from convbench.suite import Suite

__all__ = [
    "Bisected",
    "Case",
    "Check",
    "Comparison",
    "ConvbenchError",
    "Count",
    "Executor",
    "History",
    "Host",
    "Job",
    "Measurement",
    "Protocol",
    "Record",
    "Run",
    "Suite",
    "bisect",
    "check",
    "compare",
    "count",
    "executor",
    "export_model",
    "history",
    "load",
    "measure",
    "open_run",
    "register",
    "report",
    "run",
]
_PLACES = {
    "convbench.analysis.history.overview": ("History",),
    "convbench.check.against_base": ("Check",),
    "convbench.check.bisection.bisected": ("Bisected",),
    "convbench.check.live": ("Comparison",),
    "convbench.core.errors": ("ConvbenchError",),
    "convbench.core.record": ("Case", "Protocol", "Record"),
    "convbench.measure.live.count": ("Count",),
    "convbench.measure.live.measurement": ("Measurement",),
    "convbench.report.run": ("Run",),
    "convbench.runs.executor": ("Executor", "Host", "Job"),
    "convbench.suite": ("Suite",),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}
_CALLABLE = ("check", "measure", "report")
"""Functions of the API that are called like a room of the house: the package itself can be called."""


def __getattr__(name: str) -> Any:
    if name in _CALLABLE:
        return importlib.import_module(f"convbench.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'convbench' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, "convbench.api")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
