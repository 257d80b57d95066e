"""Check whether statements of first screens survive the next run of a suite, on synthetic machines or stored runs.

``python tests/bench/statements.py`` draws ten random statements from the first screens of 20 synthetic runs, every
second of them disturbed, and checks each against another run of the same machine. It prints them and the share of all
statements that is contradicted, and writes ``reports/bench/statements.json``. ``python tests/bench/statements.py A B``
does the same for two stored runs of one suite.

A statement is an interval: of a latency, or of a reducer's time over the fastest's. The next run contradicts it if its
own interval for the same quantity does not overlap. A tie is contradicted if the next run's whole ratio is above 10 %,
more than the first run allowed. A decision is contradicted if its pick is. Nothing is timed.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import records

from convbench.analysis import latencies
from convbench.analysis.costs.headlines import headline_of
from convbench.analysis.costs.ranking import MARGIN, Contender
from convbench.analysis.results import Result, results
from convbench.core import visits
from convbench.core.record import Record, Visit
from convbench.core.statistics import Interval
from convbench.core.storage import store
from convbench.report.words import units
from convbench.report.words.first_lines import decision

RUNS, DRAWN, ROUNDS, SAMPLES = 20, 10, 3, 40
OUT = Path("reports/bench/statements.json")
SIZES = {"gap": (None,), "gmp": (None,), "spatial-softmax": (None,), "attention(heads=4)": (None,), "flatten": (None,),
         "fc(activation=true)": (8, 32, 128), "hybrid(activation=true)": (8, 32, 64),
         "conv1x1-avg-k(k=4)": (32, 128), "random-projection": (32, 128)}  # fmt: skip


class Statement(NamedTuple):
    """A statement's words, its case, the case it is relative to (None for a latency), and its interval."""

    words: str
    case: str
    over: str | None
    interval: Interval


def machine(seed: int) -> dict[str, float]:
    """Return a synthetic machine: the true seconds of every case, several of them tied."""
    rng = random.Random(seed)
    cases = [records.case(name, size) for name, sizes in SIZES.items() for size in sizes]
    return {of.id: records.seconds(of, rng) * rng.lognormvariate(0, 0.12) for of in cases}


def run(truth: dict[str, float], seed: int, disturbed: bool) -> list[Record]:
    """Return a run of that machine, a record per case.

    Processes differ by 3 %, and bad minutes slow the cases and the reference alike.
    """
    rng = random.Random(seed)
    cases = [records.case(name, size) for name, sizes in SIZES.items() for size in sizes]
    lines = []
    for round_ in range(ROUNDS):
        order = rng.sample(cases, len(cases))
        slow = rng.randrange(len(order)) if disturbed else -1
        for place, of in enumerate(order):
            burst = rng.uniform(1.2, 14) if 0 <= place - slow < 5 and slow >= 0 else 1.0
            lines.append(_visit(of, truth[of.id] * burst, 1e-3 * burst, round_, rng))
    return visits.join_visits(lines)


def _visit(of: records.Case, center: float, reference: float, round_: int, rng: random.Random) -> Record:
    ours = center * rng.lognormvariate(0, 0.03)
    times = records.reading("latency_s", *(ours * rng.lognormvariate(0, 0.04) for _ in range(SAMPLES)))
    beside = records.reading("reference_s", *(reference * rng.lognormvariate(0, 0.02) for _ in range(5)))
    plain = records.record(of, samples=0)
    exact = tuple(reading for reading in plain.readings if reading.metric.name != "latency_s")
    return replace(plain, readings=(*exact, times, beside), visits=(Visit(round_),))


def statements(case_results: Sequence[Result]) -> Iterator[Statement]:
    """Yield the first screen's statements of latencies: the decision, each row's latency, each row's ratio."""
    headline = headline_of(case_results)
    if not headline.ranking or not headline.pick:
        return
    fastest = headline.ranking[0].result
    best: dict[str, Contender] = {}
    for contender in headline.ranking:
        best.setdefault(contender.result.series, contender)
    pick = next(contender for contender in headline.ranking if contender.result is headline.pick)
    yield Statement(decision(headline, []), pick.result.case.id, fastest.case.id, _tie(pick.factor))
    for contender in best.values():
        result = contender.result
        if result.latency and result.latency.bounded:
            yield Statement(
                f"{result.series} takes {units.interval(result.latency)}", result.case.id, None, result.latency
            )
        if result is not fastest:
            relation = "is tied with" if contender.tied else f"takes {units.speedup(contender.factor)} the time of"
            interval = _tie(contender.factor) if contender.tied else contender.factor
            yield Statement(f"{result.series} {relation} {fastest.series}", result.case.id, fastest.case.id, interval)


def _tie(factor: Interval) -> Interval:
    """Return what “tied” allows: less than the margin, or as much as the noise leaves open."""
    return Interval(1.0, 0.0, max(MARGIN, factor.high))


def contradicted(statement: Statement, case_results: Sequence[Result]) -> bool:
    """Whether these results contradict the statement, by intervals that do not overlap."""
    known = {result.case.id: result for result in case_results}
    case_result, other = known.get(statement.case), known.get(statement.over or "")
    if case_result is None or case_result.timing is None:
        return False
    interval = case_result.timing.interval
    if statement.over:
        if other is None or other.timing is None:
            return False
        (interval,) = latencies.ratios([(case_result.timing, other.timing)])
    return math.isfinite(interval.low) and (
        interval.low > statement.interval.high or interval.high < statement.interval.low
    )


def judged(first: Sequence[Record], following: Sequence[Record]) -> list[tuple[Statement, bool]]:
    """Return each statement of the first run's page, and whether the next run contradicts it."""
    again = results(following)
    return [(statement, contradicted(statement, again)) for statement in statements(results(first))]


def invented() -> list[tuple[Statement, bool]]:
    pairs = [(machine(seed), seed) for seed in range(RUNS)]
    judgements = []
    for truth, seed in pairs:
        judgements += judged(run(truth, 1000 + seed, bool(seed % 2)), run(truth, 2000 + seed, bool(seed % 4 > 1)))
    return judgements


def main() -> None:
    stored = [store.load(Path(path))[1] for path in sys.argv[1:]]
    judgements = judged(*stored) if stored else invented()
    drawn = random.Random(21).sample(judgements, min(DRAWN, len(judgements)))
    for statement, is_wrong in drawn:
        print(f"{'CONTRADICTED' if is_wrong else 'holds':<14}{statement.words}")
    wrong, wrong_drawn = sum(bad for _, bad in judgements), sum(bad for _, bad in drawn)
    figures = {"drawn": len(drawn), "drawn_contradicted": wrong_drawn, "statements": len(judgements),
               "contradicted": wrong, "share": round(wrong / len(judgements), 4)}  # fmt: skip
    print(json.dumps(figures))
    if not stored:
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
