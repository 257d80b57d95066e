"""Select from the given runs the records that claims need: costs, and what was learnt on one backbone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from convbench.analysis import latencies
from convbench.analysis.claims.judgement import Lacking, Number
from convbench.analysis.quality.lessons import Lesson, lessons
from convbench.analysis.quality.qualities import Quality, qualities
from convbench.analysis.results import Group, Result, results
from convbench.core.record import EAGER, Clip, Parts, Record, Recurrent, RunDescription, Training
from convbench.core.statistics import Interval
from convbench.core.storage import merging

TRAIN = "run the suites claims and claims-dials, and give `convbench claims` both runs"
COSTS = "run the suite claims, and give `convbench claims` its run"
LEAST_RATIO = 1.1
"""Ratio of two latencies below which the first is not longer in a way that matters."""
Ground = tuple[str, Recurrent, Clip]


@dataclass(frozen=True)
class Evidence:
    """The given runs, possibly none. If several runs have a case, the first measured record counts."""

    runs: tuple[tuple[RunDescription, Sequence[Record]], ...] = ()

    @cached_property
    def records(self) -> list[Record]:
        return merging.union(records for _, records in merging.mark_runs(self.runs))

    @cached_property
    def costs(self) -> list[Result]:
        """Measured costs of eager models that convbench assembles."""
        records = (
            record
            for record in self.records
            if record.case.trial is None and record.status == "ok" and not record.case.variant
        )
        return [result for result in results(records) if isinstance(result.case.architecture, Parts)]

    @cached_property
    def lessons(self) -> list[Lesson]:
        """Training runs that ended, dead ones included; no controls and no evaluations in other variants."""
        return [lesson for lesson in lessons(self.records) if not lesson.control and lesson.variant == EAGER]

    @cached_property
    def qualities(self) -> list[Quality]:
        """What was learnt on the ground (backbone, recurrent stage, clip) on which most architectures were tried."""
        candidates = qualities(self.records)
        counts = Counter(
            ground(quality.architecture, quality.clip)
            for quality in {(q.architecture, q.clip): q for q in candidates}.values()
        )
        widest_ground = max(counts, key=lambda setting: counts[setting], default=None)
        return [quality for quality in candidates if ground(quality.architecture, quality.clip) == widest_ground]

    @property
    def train_clips(self) -> int:
        """Training clips of a task that does not set its own number."""
        return self.runs[0][0].protocol.training.train_clips if self.runs else Training().train_clips

    @property
    def tasks(self) -> list[str]:
        """The tasks that were learnt without options."""
        return list(dict.fromkeys(quality.task for quality in self.qualities if "(" not in quality.task))

    def on(self, task: str) -> dict[str, Quality]:
        """Return the qualities of a task that have two sound runs or more, by the configuration's name."""
        return {
            name(quality.architecture): quality
            for quality in self.qualities
            if quality.task == task and len(quality.by_seed) > 1
        }

    def pair(self, task: str, first: str, second: str) -> tuple[Quality, Quality]:
        """Return two configurations on a task. Raises Lacking if either has fewer than two sound runs."""
        qualities = self.on(task)
        if missing_names := [label for label in (first, second) if label not in qualities]:
            numbers = left_out(q for q in self.qualities if q.task == task and name(q.architecture) in missing_names)
            advice = f"{numbers[0].label.lower()}; train them longer, or with more seeds" if numbers else TRAIN
            raise Lacking(f"No two sound trainings of {' or '.join(missing_names)} on {task}: {advice}.")
        return qualities[first], qualities[second]


def ground(parts: Parts, clip: Clip) -> Ground:
    """Return what architectures must share for their reducers to be compared."""
    return (str(parts.backbone), parts.rnn, clip)


def name(parts: Parts) -> str:
    """Name a configuration on one backbone, such as ``fc 64`` or ``flatten 1024 + LayerNorm``."""
    suffix = " + LayerNorm" if parts.layer_norm else ""
    return f"{parts.reducer} {parts.lstm_input or 'map'}{suffix}"


def left_out(qualities: Iterable[Quality]) -> tuple[Number, ...]:
    """Count the runs that no mean has because they collapsed or failed, and the runs that were still learning.

    Counts of zero are left out. If only one learning rate was tried, that is reported too, because then tuning is part
    of every comparison.
    """
    members = list({id(quality): quality for quality in qualities}.values())
    collapses, failures, unconverged = (
        sum(getattr(quality, word) for quality in members) for word in ("collapsed", "failed", "unconverged")
    )
    runs = sum(quality.ended + quality.failed for quality in members)
    words = ", ".join(f"{count} {word}" for word, count in (("collapsed", collapses), ("failed", failures)) if count)
    rates = {rate for quality in members for rate in quality.by_rate}
    return (
        *([Number(f"Runs left out of every mean: {words}", collapses + failures, "1", n=runs)] if words else ()),
        *([Number("Runs in the means that were still learning", unconverged, "1", n=runs)] if unconverged else ()),
        *([Number("Learning rates tried, so that tuning is part of each comparison", 1)] if len(rates) == 1 else ()),
    )


def group_of_largest_input(results: Sequence[Result]) -> list[Result]:
    """Return the group of one backbone, LSTM and clip on one machine that has the largest LSTM input."""
    groups: dict[tuple[Group, str], list[Result]] = defaultdict(list)
    for result in results:
        parts = result.case.architecture
        if isinstance(parts, Parts) and not parts.layer_norm:
            groups[result.group, f"{parts.backbone}/{parts.rnn}"].append(result)
    return max(groups.values(), key=lambda group: max(result.lstm_input or 0 for result in group), default=[])


def ratio_of(result: Result, other: Result) -> Interval:
    """Return the latency of ``result`` over that of ``other``."""
    assert result.timing and other.timing
    return latencies.ratios([(result.timing, other.timing)])[0]
