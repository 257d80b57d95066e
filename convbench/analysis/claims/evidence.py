"""The records of the given runs, as claims ask for them: costs, and what was learnt on one backbone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from convbench.analysis.claims.claim import Lacking, Number
from convbench.analysis.quality.qualities import Lesson, Quality, lessons, qualities
from convbench.analysis.results import Result, results
from convbench.core import store
from convbench.core.record import Clip, Parts, Record, Recurrent, Run, Training

TRAIN = "run the suites claims and claims-dials, and give `convbench claims` both runs"
COSTS = "run the suite claims, and give `convbench claims` its run"
Ground = tuple[str, Recurrent, Clip]


@dataclass(frozen=True)
class Evidence:
    """The runs given, none being a right answer too; of cases in several runs the first measured one counts."""

    runs: tuple[tuple[Run, Sequence[Record]], ...] = ()

    @cached_property
    def records(self) -> list[Record]:
        return store.union(records for _, records in self.runs)

    @cached_property
    def costs(self) -> list[Result]:
        """Measured costs of eager models that convbench assembles."""
        plain = (one for one in self.records if one.case.trial is None and one.status == "ok" and not one.case.variant)
        return [one for one in results(plain) if isinstance(one.case.architecture, Parts)]

    @cached_property
    def lessons(self) -> list[Lesson]:
        """Training runs that ended, dead ones too; no controls."""
        return [one for one in lessons(self.records) if not one.control]

    @cached_property
    def qualities(self) -> list[Quality]:
        """What was learnt on the backbone on which most reducers were tried."""
        every = qualities(self.records)
        tried = Counter(
            ground(one.architecture, one.clip) for one in {(q.architecture, q.clip): q for q in every}.values()
        )
        widest = max(tried, key=lambda one: tried[one], default=None)
        return [one for one in every if ground(one.architecture, one.clip) == widest]

    @property
    def train_clips(self) -> int:
        """Training clips of a task that names no number of its own."""
        return self.runs[0][0].protocol.training.train_clips if self.runs else Training().train_clips

    @property
    def tasks(self) -> list[str]:
        """The tasks that were learnt as they are, without options."""
        return list(dict.fromkeys(one.task for one in self.qualities if "(" not in one.task))

    def on(self, task: str) -> dict[str, Quality]:
        """Qualities with two sound runs or more on one task, by the name of the configuration."""
        return {name(one.architecture): one for one in self.qualities if one.task == task and len(one.by_seed) > 1}

    def pair(self, task: str, one: str, other: str) -> tuple[Quality, Quality]:
        """Two configurations on a task. Raises Lacking where either has no two sound runs."""
        found = self.on(task)
        if missing := [each for each in (one, other) if each not in found]:
            unsound = left_out(q for q in self.qualities if q.task == task and name(q.architecture) in missing)
            instead = f"{unsound[0].label.lower()}; train them longer, or with more seeds" if unsound else TRAIN
            raise Lacking(f"No two sound trainings of {' or '.join(missing)} on {task}: {instead}.")
        return found[one], found[other]


def ground(parts: Parts, clip: Clip) -> Ground:
    """What architectures must share for their reducers to be compared."""
    return (str(parts.backbone), parts.rnn, clip)


def name(parts: Parts) -> str:
    """``fc 64``, ``flatten 1024 + LayerNorm``: a configuration on one backbone."""
    normed = " + LayerNorm" if parts.layer_norm else ""
    return f"{parts.reducer} {parts.lstm_input or 'map'}{normed}"


def left_out(several: Iterable[Quality]) -> tuple[Number, ...]:
    """How many runs collapsed or failed, and so are in no mean, and how many were still learning; nothing where none.

    With one learning rate that is said too, because then tuning is part of every comparison.
    """
    once = list({id(one): one for one in several}.values())
    collapsed, failed, still = (
        sum(getattr(one, word) for one in once) for word in ("collapsed", "failed", "unconverged")
    )
    runs = sum(one.ended + one.failed for one in once)
    said = ", ".join(f"{count} {word}" for word, count in (("collapsed", collapsed), ("failed", failed)) if count)
    rates = {rate for one in once for rate in one.by_rate}
    return (
        *([Number(f"Runs left out of every mean: {said}", collapsed + failed, "1", n=runs)] if said else ()),
        *([Number("Runs in the means that were still learning", still, "1", n=runs)] if still else ()),
        *([Number("Learning rates tried, so that tuning is part of each comparison", 1)] if len(rates) == 1 else ()),
    )
