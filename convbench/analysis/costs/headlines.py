"""What the measured costs allow one to say, as plain data: its words are made in ``report.words``.

Only cost was measured, so nothing here is called an optimum. The rule is explicit: of the models that cannot be told
from the fastest, the one with the fewest parameters; and the same among the reducers that keep positions. Where nothing
is timed, a model whose FLOPs are only partly counted is the pick only where there is no other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from convbench.analysis.costs.crossover import crossover
from convbench.analysis.costs.gains import VariantGain, by_variant, gains
from convbench.analysis.results import Result, measured
from convbench.core.record import Parts
from convbench.core.statistics import Interval, ratio_interval

MARGIN = 1.10
"""Below this ratio no difference between two processes is claimed: their own spread is of that order (METHOD.md)."""

OF_OLD = {
    **dict.fromkeys(("gap", "gmp", "gem", "hybrid", "attention"), "lost"),
    **dict.fromkeys(("flatten", "avg-k", "fc", "conv1x1-avg-k", "gdconv", "spatial-softmax"), "kept"),
    "random-projection": "control",
}
"""What reducers of runs that were measured before they said it themselves do to position."""


@dataclass(frozen=True)
class Contender:
    """A model (a reducer at an LSTM input size) in its fastest variant, and its latency over the fastest's."""

    result: Result
    factor: Interval

    @property
    def tied(self) -> bool:
        """Whether it cannot be told from the fastest: unbounded, or within ``MARGIN`` by its interval."""
        return self.factor.low <= MARGIN


@dataclass(frozen=True)
class Advice:
    """The answer as data. ``ranking`` holds the contenders of one comparable group, fastest first.

    ``pick`` is the tied contender with the fewest parameters, ``placed`` the same among reducers that keep positions
    (None where it is the pick). ``dearest`` is the contender that costs most. ``crossover`` is the LSTM input size at
    which the LSTM's MACs equal the backbone's. ``others`` is the fastest of every other comparable group.
    """

    ranking: tuple[Contender, ...] = ()
    pick: Result | None = None
    placed: Result | None = None
    dearest: Result | None = None
    crossover: float | None = None
    variants: tuple[VariantGain, ...] = ()
    others: tuple[Result, ...] = ()
    timed: bool = False


def advise(found: Sequence[Result]) -> Advice:
    """The answer that these results allow; empty where nothing was measured."""
    able = measured(found)
    timed = [one for one in able if one.latency]
    group = widest(timed or able)
    if not group:
        return Advice()
    ranking = rank(group)
    tied = [one.result for one in ranking if one.tied] if timed else [one.result for one in ranking]
    pick = _lightest(tied if timed else [one for one in tied if not uncounted(one)] or tied)
    return Advice(
        ranking=tuple(ranking),
        pick=pick,
        placed=_placed(ranking, pick, bool(timed)),
        dearest=max((one.result for one in ranking), key=lambda one: (one.params or 0, one.flops or 0)),
        crossover=crossover(group[0]),
        variants=tuple(by_variant(gains(timed))),
        others=tuple(_elsewhere(timed, group[0])),
        timed=bool(timed),
    )


def rank(group: Iterable[Result]) -> list[Contender]:
    """Each model of a comparable group in its fastest variant, fastest first; by parameters where nothing is timed."""
    models: dict[object, list[Result]] = defaultdict(list)
    for one in group:
        models[one.case.architecture].append(one)
    best = sorted((min(several, key=_speed) for several in models.values()), key=_speed)
    return [Contender(one, _over(one, best[0])) for one in best]


def noisy(found: Sequence[Result]) -> Counter[str]:
    """How many measured cases carry each finding that makes a latency doubtful."""
    doubtful = {"not_steady", "interval_wide", "page_faults", "throttled", "foreign_process", "busy_machine"}
    return Counter(f.code for one in measured(found) for f in one.record.findings if f.code in doubtful)


def uncounted(one: Result) -> tuple[str, ...]:
    """The operators that are missing in a model's MACs and FLOPs, which then are a lower bound; mostly none."""
    found = (f.data.get("operators") for f in one.record.findings if f.code == "uncounted_operators")
    operators = next(found, None) or ()
    return operators if isinstance(operators, tuple) else (str(operators),)


def uncounted_share(one: Result) -> float:
    """The share of a model's parameters that only uncounted operators read."""
    shares = (f.data.get("share") or 0.0 for f in one.record.findings if f.code == "uncounted_operators")
    return max((float(share) for share in shares if isinstance(share, (int, float))), default=0.0)


def widest(found: Sequence[Result]) -> list[Result]:
    """The comparable group, on one backbone and recurrent stage, with most reducers, then most cases."""
    groups: dict[object, list[Result]] = defaultdict(list)
    for one in found:
        groups[_frame(one)].append(one)
    return max(groups.values(), key=_breadth, default=[])


def _frame(one: Result) -> tuple[object, ...]:
    """What must be equal for reducers to be compared with one another: all of the case but reducer, size, variant."""
    match one.case.architecture:
        case Parts() as parts:
            return (one.group, parts.backbone, parts.rnn, parts.layer_norm, parts.head)
        case whole:
            return (one.group, type(whole))


def _breadth(group: list[Result]) -> tuple[bool, int, int]:
    return (group[0].case.scenario == "inference", len({one.series for one in group}), len(group))


def _speed(one: Result) -> tuple[float, float, int, str]:
    slowest, case = float("inf"), one.case
    return (one.latency.median if one.latency else slowest, one.params or slowest, len(case.variant), case.id)


def _over(one: Result, fastest: Result) -> Interval:
    if one is fastest or not (one.latency and fastest.latency):
        return Interval(1.0, 1.0, 1.0)
    return ratio_interval(one.latency, fastest.latency)


def _lightest(several: Sequence[Result]) -> Result:
    learned = [one for one in several if _to_position(one) != "control"]
    return min(learned or several, key=lambda one: (one.params or float("inf"), one.lstm_input or 0, one.case.id))


def _to_position(one: Result) -> str | None:
    """What the reducer does to position, ``kept`` or ``lost``, or that it is a ``control``, as the record has it.

    A control is frozen, to separate size from learning: ranked, but advised only where there is nothing else. Of a
    reducer that says nothing, None.
    """
    conditions = one.record.conditions
    if conditions.get("control"):
        return "control"
    return str(conditions["position"]) if conditions.get("position") else OF_OLD.get(one.series)


def _placed(ranking: Sequence[Contender], pick: Result, timed: bool) -> Result | None:
    """The lightest of the fastest that keep positions; None where the pick does, or may."""
    keeping = [one for one in ranking if _to_position(one.result) == "kept"]
    if _to_position(pick) != "lost" or not keeping:
        return None
    fastest = keeping[0].result
    near = [one.result for one in keeping if not timed or _over(one.result, fastest).low <= MARGIN]
    return _lightest(near)


def _elsewhere(timed: Sequence[Result], here: Result) -> list[Result]:
    groups: dict[object, list[Result]] = defaultdict(list)
    for one in timed:
        if one.group != here.group:
            groups[one.group].append(one)
    return [min(several, key=_speed) for several in groups.values()]
