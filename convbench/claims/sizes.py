"""Which LSTM input size suffices, task by task, and whether one configuration or one size suffices for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from convbench.analysis.advising import recommendations
from convbench.analysis.quality import Quality
from convbench.analysis.recommend import Ask
from convbench.claims.claim import Curve, Lacking, Number, Outcome, Plot, Point, Verdict, claim
from convbench.claims.evidence import TRAIN, Evidence, left_out
from convbench.claims.paired import MARGIN, listed, paired
from convbench.record import Parts

SMALLER = 8
LEAST = 3


class Standing(NamedTuple):
    """A configuration on a task: its size, how far below the best it is, and the 95 % interval of that."""

    name: str
    size: int
    short: float
    low: float
    high: float

    @property
    def suffices(self) -> bool:
        return self.high < MARGIN

    @property
    def falls_short(self) -> bool:
        """Shown to be below the best by more than the margin."""
        return self.low > MARGIN


Standings = Mapping[str, list[Standing]]


@claim(
    7,
    "The LSTM input should be significantly smaller than the map",
    quote="the input dimension to the LSTM shouldn't be a direct replica of the spatial dimensions of the "
    "convolutional output. Rather, it often requires careful manipulation and often benefits from being significantly "
    "smaller.",
    prediction=f"On every task an LSTM input of an eighth of the flattened map or less is shown to be within "
    f"{100 * MARGIN:.0f} points of the best.",
    experiment="All reducers and sizes on one small backbone, trained on each task; the smallest size whose accuracy "
    "is below the best by less than 2 points (upper end of the 95 % interval, paired by seed).",
)
def smaller(evidence: Evidence) -> Outcome:
    found = _standings(evidence)
    raw = max(one.size for several in found.values() for one in several)
    return small_enough(found, raw, left_out(_of(evidence, found)), _plot(evidence, found))


@claim(
    15,
    "There is no magic number",
    quote='In summary, there\'s no magic number. The "optimal" input dimension to an LSTM within a Conv2D-LSTM '
    "architecture is highly specific to your data, task, and computational budget.",
    prediction="Every configuration is shown to be more than 2 points below the best on some task, and no LSTM input "
    "size suffices on all tasks.",
    experiment="All reducers and sizes on one small backbone, trained on each task, paired by seed; and the "
    "recommendation for each task (cheapest in latency within 2 points of the best).",
)
def no_magic(evidence: Evidence) -> Outcome:
    found = _standings(evidence)
    if len(found) < 2:
        raise Lacking(f"Trainings on two tasks or more are needed: {TRAIN}.")
    advised = {}
    on_ground = {(one.architecture, one.clip) for one in evidence.qualities}
    for one in recommendations(evidence.records, Ask(), list(found)):
        if one.task in found and any(one.clip == clip for _, clip in on_ground):
            parts = one.pick and one.pick.result.case.architecture
            advised[one.task] = _called(parts) if isinstance(parts, Parts) else f"none ({one.reason})"
    return specific(found, advised, left_out(_of(evidence, found)))


def small_enough(found: Standings, raw: int, used: tuple[Number, ...] = (), plot: Plot | None = None) -> Outcome:
    """Supported where a size of raw / 8 or less suffices on every task, refuted where on none."""
    least = {task: min((one.size for one in several if one.suffices), default=raw) for task, several in found.items()}
    numbers = [Number(f"{task}: smallest LSTM input that suffices", size) for task, size in least.items()]
    numbers.append(Number("The flattened map", raw))
    for task, several in found.items():
        flat = max(several, key=lambda one: one.size)
        numbers.append(Number(f"{task}: {flat.name} below the best", flat.short, "points", flat.low, flat.high))
    small = [task for task, size in least.items() if size * SMALLER <= raw]
    verdict: Verdict = "supported" if len(small) == len(least) else "depends" if small else "refuted"
    shares = listed([f"{size:,} on {task}" for task, size in least.items()])
    why = f"Of {raw:,} values of the map these suffice: {shares}. "
    hurt = [task for task, several in found.items() if max(several, key=lambda one: one.size).falls_short]
    why += f"The whole map is shown to be more than 2 points below the best on {listed(hurt)}."
    return Outcome(verdict, why, (*numbers, *used), plot)


def specific(found: Standings, advised: Mapping[str, str], used: tuple[Number, ...] = ()) -> Outcome:
    """Refuted where one configuration suffices on all tasks, supported where each falls short on one and no size
    suffices on all; else it depends."""
    names = set.intersection(*({one.name for one in several} for several in found.values()))
    everywhere = sorted(name for name in names if all(_at(several, name).suffices for several in found.values()))
    undecided = [name for name in names if not any(_at(several, name).falls_short for several in found.values())]
    sizes = set.intersection(*({one.size for one in several if one.suffices} for several in found.values()))
    verdict: Verdict = "refuted" if everywhere else "depends" if undecided or sizes else "supported"
    if everywhere:
        why = f"{listed(everywhere)} is within 2 points of the best on every task."
    elif undecided:
        why = f"No configuration is shown to suffice on every task; not excluded is {listed(sorted(undecided))}."
    else:
        why = "Every configuration is shown to be more than 2 points below the best on some task."
    if sizes and not everywhere:
        why += " Yet one size does suffice on all, with a reducer for each: "
        f"{listed([str(size) for size in sorted(sizes)])}."
    if advised:
        why += f" Advised: {listed([f'{pick} on {task}' for task, pick in advised.items()])}."
    best = {task: min(several, key=lambda one: one.short) for task, several in found.items()}
    numbers = [Number(f"{task}: LSTM input of the best, {one.name}", one.size) for task, one in best.items()]
    numbers.append(Number("Configurations tried on all tasks", len(names)))
    numbers.append(Number("of which shown to fall short on some task", len(names) - len(undecided)))
    numbers.append(Number("of which shown to suffice on every task", len(everywhere)))
    return Outcome(verdict, why, (*numbers, *used))


def _standings(evidence: Evidence) -> dict[str, list[Standing]]:
    """By task every configuration against the best. Raises Lacking without a task of three of them, flatten too."""
    found = {task: _ranked(evidence.on(task)) for task in evidence.tasks}
    kept = {task: several for task, several in found.items() if len(several) >= LEAST and _has_flatten(several)}
    if not kept:
        raise Lacking(f"Trainings of flatten and of two smaller inputs or more are needed: {TRAIN}.")
    return kept


def _ranked(found: Mapping[str, Quality]) -> list[Standing]:
    if not found:
        return []
    best = max(found.values(), key=lambda one: one.mean or 0.0)
    made = []
    for called, one in found.items():
        size = one.architecture.lstm_input or 0
        if one is best:
            made.append(Standing(called, size, 0.0, 0.0, 0.0))
        elif len(best.by_seed.keys() & one.by_seed.keys()) > 1:
            gap = paired(one.task, best.by_seed, one.by_seed)
            made.append(Standing(called, size, gap.mean, gap.low, gap.high))
    return made


def _has_flatten(several: list[Standing]) -> bool:
    return any(one.name.startswith("flatten") for one in several)


def _at(several: list[Standing], called: str) -> Standing:
    return next(one for one in several if one.name == called)


def _of(evidence: Evidence, found: Standings) -> list[Quality]:
    return [one for one in evidence.qualities if one.task in found]


def _called(parts: Parts) -> str:
    return f"{parts.reducer.name} {parts.lstm_input:,}" if parts.lstm_input else str(parts.reducer)


def _plot(evidence: Evidence, found: Standings) -> Plot:
    """The best accuracy at each size, a curve a task."""
    curves = []
    for task in found:
        best: dict[int, Quality] = {}
        for one in evidence.on(task).values():
            size = one.architecture.lstm_input or 0
            if size not in best or (one.mean or 0) > (best[size].mean or 0):
                best[size] = one
        points = [
            Point(size, one.mean or 0.0, one.interval and one.interval.low, one.interval and one.interval.high)
            for size, one in sorted(best.items())
        ]
        curves.append(Curve(task, tuple(points)))
    return Plot(
        "The best accuracy at each LSTM input size",
        "How to read this: for each task the reducer with the highest mean test accuracy of that size, with its 95 % "
        "interval over seeds. The size is not the only thing that differs along a line: the reducer may too.",
        ("LSTM input size", "size"), ("Test accuracy", "share"), tuple(curves),
    )  # fmt: skip
