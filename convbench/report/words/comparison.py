"""Runs side by side in words: the ratio, the machine's part in it, their agreement, and what forbids comparing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convbench.analysis.compare import KeyDifference, Match, distance, noise, overall
from convbench.analysis.costs.headlines import withheld_results
from convbench.analysis.results import Result
from convbench.analysis.run_agreement import agreement
from convbench.analysis.stored_runs import machine_slowdown
from convbench.core.statistics import Interval
from convbench.core.text import counted, joined
from convbench.report.words import units
from convbench.report.words.facts import inner_title
from convbench.report.words.numbers import TIE

COUNTS = {"Parameters": "params", "FLOPs": "flops"}
"""Exact counts by name, with the attribute of a result."""
RATIOS = 6
"""Greatest number of ratios that a headline names one by one."""
TOLERANCE = 0.02
"""Least relative difference of the reference workload that is mentioned."""


def sentence(
    matches: Sequence[Match], run: int, letter: str, base: str = "A", place: str = "listed first below"
) -> str:
    """Return the median ratio over the first run and the spread of the cases, and how many differ beyond noise.

    A single case has its own interval instead. ``letter`` and ``base`` name the run and the first one, ``place`` is
    where the differing cases are listed.
    """
    ratio = overall(matches, run)
    if ratio is None:
        if any(match.elsewhere and match.results[run] for match in matches):
            return f"{letter} has no case that was timed on the same machine and software as in {base}."
        reason = missing_ratios(matches, run)
        return f"{letter} shares no timed case with {base}{reason and f': {reason}'}.{_counts(matches, run)}"
    ratios = [shared_ratio for match in matches if (shared_ratio := match.ratios[run])]
    spread = f"nine in ten at {units.extent(units.factor(ratio.low), units.factor(ratio.high))}"
    cases = f"median of {len(ratios):,} shared cases; {spread}" if len(ratios) > 1 else "the one shared case"
    factor = units.factor(ratio.median) if len(ratios) > 1 else units.speedup(ratios[0])
    outlier_count = _outlier_count(matches, run)
    verdict = {0: "No case differs", 1: "One case differs"}.get(outlier_count, f"{outlier_count:,} cases differ")
    verdict += f" by more than {TIE} beyond noise{f', {place}' if outlier_count else ''}."
    medians = f"{letter} takes {factor} the time of {base} ({cases})."
    return f"{medians} {verdict}" if outlier_count else f"{verdict} {medians}"


def headline(matches: Sequence[Match], letters: str) -> str:
    """Return the page's first line: the ``sentence`` for two runs, else the ratio of each run, or the range of many.

    ``B takes 1.01×, C 1.20× and F 0.800× the time of A; D and E have no ratio over it. Cases that differ by more than
    10 % beyond noise: 12 in C and 3 in F.``
    """
    if len(letters) == 2:
        return sentence(matches, 1, letters[1])
    medians = {letter: ratio.median for run, letter in enumerate(letters) if run and (ratio := overall(matches, run))}
    if not medians:
        return "No run has a ratio over A."
    if len(medians) > RATIOS:
        ends = (units.factor(end(medians.values())) for end in (min, max))
        head = f"{len(medians)} runs take {' to '.join(ends)}"
    else:
        (first_letter, factor), *pairs = ((letter, units.factor(median)) for letter, median in medians.items())
        head = joined([f"{first_letter} takes {factor}", *(f"{letter} {factor}" for letter, factor in pairs)])
    missing = [letter for letter in letters[1:] if letter not in medians]
    ending = f"; {joined(missing)} {'have' if missing[1:] else 'has'} no ratio over it" if missing else ""
    return f"{head} the time of A{ending}. {_outliers(matches, {letters.index(letter): letter for letter in medians})}"


def _outlier_count(matches: Sequence[Match], run: int) -> int:
    """Return how many cases of a run differ from A beyond noise."""
    return sum(distance(match.ratios[run]) > 0 for match in matches)


def _outliers(matches: Sequence[Match], letters: Mapping[int, str]) -> str:
    """Return how many cases of each run differ from A beyond noise; for many runs only the number of such runs."""
    numbers = {letter: _outlier_count(matches, run) for run, letter in letters.items()}
    counts = [f"{number:,} in {letter}" for letter, number in numbers.items() if number]
    if not counts:
        return f"No case differs by more than {TIE} beyond noise."
    place = f"in {len(counts)} of them" if len(letters) > RATIOS else joined(counts)
    return f"Cases that differ by more than {TIE} beyond noise: {place}."


def _counts(matches: Sequence[Match], run: int) -> str:
    """Return whether exact counts are the same in the cases counted in both runs; empty without such cases."""
    pairs = [{word: _values(match, run, name) for word, name in COUNTS.items()} for match in matches]
    pairs = [values for values in pairs if any(values.values())]
    unequal_count = sum(any(len(pair) > 1 for pair in values.values()) for values in pairs)
    if not pairs:
        return ""
    words = joined([word for word in COUNTS if any(values[word] for values in pairs)])
    cases = counted(len(pairs), "shared case")
    if unequal_count:
        return f" {words} differ in {unequal_count:,} of {cases}."
    return f" {words} are the same in {'all ' if pairs[1:] else ''}{cases}."


def _values(match: Match, run: int, name: str) -> set[float]:
    """Return an exact count in a run and the first one, once if they agree; empty unless both have it."""
    first, later = (getattr(result, name, None) for result in (match.results[0], match.results[run]))
    return set() if first is None or later is None else {first, later}


def missing_ratios(matches: Sequence[Match], run: int) -> str:
    """Return how many shared cases one of the two runs never measured undisturbed; empty if there are none."""
    pairs = [[result for at in (0, run) if (result := match.results[at])] for match in matches]
    number = sum(len(pair) > 1 and bool(withheld_results(pair)) for pair in pairs)
    cases = counted(number, "shared case was", "shared cases were")
    return f"{cases} never measured undisturbed in one of them" if number else ""


def trainings(run_results: Sequence[Sequence[Result]], letters: str) -> list[str]:
    """Return that the page does not compare trainings and read-outs; empty if no run has any."""
    numbers = [sum(result.case.trial is not None for result in results) for results in run_results]
    if not any(numbers):
        return []
    counts = joined([f"{number:,} in {letter}" for letter, number in zip(letters, numbers, strict=False) if number])
    return [f"Trainings and linear read-outs ({counts}) are not compared here: each run’s own page has its accuracies."]


def notes(matches: Sequence[Match], run_results: Sequence[Sequence[Result]], run: int, letter: str) -> list[str]:
    """Return how precise a ratio is, how much of it is the machine's, and whether the two runs agree."""
    margin, ratio = noise(matches, run), overall(matches, run)
    texts = []
    if margin is not None:
        texts.append(
            f"{letter} over A: the ratio of a single case is known to ±{units.percent(margin)} (median of the cases)."
        )
    if ratio and (reason := missing_ratios(matches, run)):
        texts.append(f"{letter} over A: {reason}, without a ratio.")
    if ratio:
        texts += _machine(
            [match._replace(results=(match.results[0], match.results[run])) for match in matches], ratio, letter
        )
    case_ids = {result.case.id for match in matches if match.elsewhere for result in match.results if result}
    first, other = ([result for result in run_results[at] if result.case.id not in case_ids] for at in (0, run))
    return [*texts, *_agreement(first, other, letter)]


def _machine(pairs: Sequence[Match], ratio: Interval, letter: str) -> list[str]:
    """Return what the reference workload shows of the machine's speed.

    Latencies from several visits have already been corrected for most of it.
    """
    slowdown = machine_slowdown(pairs)
    if not slowdown or abs(slowdown - 1) <= TOLERANCE:
        return []
    clause = f"took {units.factor(slowdown)} as long for the reference workload in {letter}"
    if any(all(result and len(result.record.visits) > 1 for result in match.results) for match in pairs):
        return [f"At the stated speeds the machine {clause}: that much of the ratio may be the machine’s."]
    net_factor = units.factor(ratio.median / slowdown)
    return [f"The machine itself {clause}; corrected for that, {letter} takes {net_factor} the time of A."]


def _agreement(first_results: Sequence[Result], other_results: Sequence[Result], letter: str) -> list[str]:
    """Return whether intervals overlap, orders are reversed and the pick is the same."""
    overlap = agreement(first_results, other_results)
    if not overlap or overlap.cases < 2:
        return []
    turns = (
        f"{overlap.contradictions:,} are" if overlap.contradictions > 1 else f"{overlap.contradictions or 'none'} is"
    )
    order_text = f"of {counted(overlap.apart, 'order')} that A is sure of, {turns} reversed in {letter}"
    order_text = order_text if overlap.apart else "A is not sure of the order of any two"
    pick = "A’s pick is tied or first there too" if overlap.same_pick else "the pick differs"
    count = f"{round(overlap.meet * overlap.cases):,} of {overlap.cases:,} cases"
    return [f"The 95 % intervals of A and {letter} overlap in {count}; {order_text}; {pick}."]


def warnings(matches: Sequence[Match], differences: Sequence[KeyDifference]) -> list[str]:
    """Return warnings about what makes the runs hard to compare."""
    texts = []
    names = [inner_title(difference.key) for difference in differences if difference.grave]
    if names and any(ratio for match in matches for ratio in match.ratios):
        texts.append(
            f"These runs were not made under the same conditions: {joined(names)} differ{'' if names[1:] else 's'}. "
            "A ratio here compares machines and settings as a whole; it says nothing about a change of code."
        )
    unequal_count = sum(match.counts_differ for match in matches)
    if unequal_count:
        texts.append(
            f"Parameters or FLOPs differ in {counted(unequal_count, 'case')}: "
            "these are exact, so the models are not the same."
        )
    case_ids = [match.case.id for match in matches if match.elsewhere]
    if case_ids:
        texts.append(
            f"{counted(len(case_ids), 'case')} without a ratio, such as {case_ids[0]}: not measured on the same "
            "machine and software in every run."
        )
    device_changes = [match for match in matches if len({result.case.device for result in match.results if result}) > 1]
    if device_changes:
        texts.append("The runs share no device: cases are matched across devices, and memory is not comparable.")
    return texts
