"""A stored run in the formats of other tools: ``document(run, records)`` returns the content of a JSON file.

If a run has nothing that fits a format, its document is empty (``is_empty``). Exports only describe; ``convbench
check`` decides whether something became slower.
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
