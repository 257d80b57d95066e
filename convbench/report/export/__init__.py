"""A stored run in the formats of other tools, one file a format: ``document(run, records)`` is what its JSON holds.

Of a run without anything that a format has room for a document is empty (``is_empty``). Exports describe; whether
something became slower is for ``convbench check`` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from convbench.core.record import Record, RunDescription
from convbench.report.export import bencher, github_action, pytest_benchmark

Export = Callable[[RunDescription, Sequence[Record]], object]
FORMATS: dict[str, Export] = {
    "pytest-benchmark": pytest_benchmark.document,
    "github-action": github_action.document,
    "bencher": bencher.document,
}


def is_empty(document: object) -> bool:
    """Whether a document holds no case."""
    return not (document.get("benchmarks", document) if isinstance(document, dict) else document)
