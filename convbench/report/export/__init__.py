"""A stored run in the formats of other tools, one file a format: ``document(run, records)`` is what its JSON holds.

Exports describe; whether something became slower is for ``convbench check`` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from convbench.core.record import Record, Run
from convbench.report.export import bencher, github_action, pytest_benchmark

Export = Callable[[Run, Sequence[Record]], object]
FORMATS: dict[str, Export] = {
    "pytest-benchmark": pytest_benchmark.document,
    "github-action": github_action.document,
    "bencher": bencher.document,
}
