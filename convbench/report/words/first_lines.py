"""The page's first lines: the decision in one sentence, and why that model is taken of those tied."""

from __future__ import annotations

from collections.abc import Sequence

from convbench.analysis.choice.candidates import Candidate
from convbench.analysis.choice.recommendation import Recommendation
from convbench.analysis.costs.headlines import Headline
from convbench.analysis.costs.ranking import as_light, exclude_controls
from convbench.analysis.results import Result
from convbench.core.record import Parts
from convbench.core.text import counted, cut, cut_name, one_line
from convbench.report.words import units
from convbench.report.words.elsewhere import whereabouts
from convbench.report.words.names import after_norm, around, cell, kind, reducer
from convbench.report.words.numbers import untimed

TASKS = 3
"""Number of tasks that the sentence names; it only counts the others."""
LONG = 64
UNORDERED = "Neither latency nor parameters were measured, so nothing is ranked."
ASIDE = " (frozen controls aside)"
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def decision(headline: Headline, answers: Sequence[Recommendation]) -> str:
    """Return the decision: by task if quality was run, else by cost, with the variant that makes the pick fastest.

    Empty without a measurement.
    """
    if answers:
        return _by_task(answers)
    pick = headline.pick
    if not pick:
        return ""
    if not headline.is_ordered:
        return UNORDERED
    is_alone = len(headline.ranking) < 2
    place = f"{whereabouts(pick, headline.leaders, beside_name=is_alone)}{_in_variant(pick)}"
    if not pick.latency:
        equal_count = len(as_light(pick, [contender.result for contender in headline.ranking])) - 1
        equals = f" ({counted(equal_count, 'other is', 'others are')} as small)" if equal_count else ""
        why = untimed(contender.result for contender in headline.ranking)
        if is_alone:
            return f"{_name(pick, headline)}{place}: {units.quantity(pick.params, 'parameter')}; {why}."
        return f"Smallest of {len(headline.ranking)}{place}: {_name(pick, headline)}{equals}; {why}."
    ties = headline.tied
    if len(ties) < 2:
        latency, name = units.median(pick.latency), _name(pick, headline)
        aside = ASIDE if headline.controls_aside else ""
        head = f"{name}{place}: " if is_alone else f"Fastest{place}{aside}: {name}, "
        text = f"{head}{latency} a call{_position(headline, '; take ')}."
    else:
        text = f"{_tie(ties, place)}; take {_name(pick, headline)}{reason(pick, ties)}{_position(headline, ', or ')}."
    return f"{text}{_quickest(headline)}"


def reason(pick: Result, ties: Sequence[Result]) -> str:
    """Return why the pick is taken of those tied: `` for the fewest parameters`` or ``, the fastest of equal size``.

    Empty if no parameters were counted.
    """
    if pick.params is None:
        return ""
    text = merit(pick, ties)
    return f", {text}" if text.startswith("the fastest") else f" for {text}"


def merit(pick: Result, ties: Sequence[Result]) -> str:
    """Return what distinguishes the pick from the models tied with it, such as ``the fewest parameters``."""
    learners, lightest = exclude_controls(ties), as_light(pick, ties)
    if pick.params is None:
        text = "the fastest"
    elif len(lightest) < 2:
        text = "the fewest parameters"
    elif len(lightest) == len(learners):
        text = "the fastest of equal size"
    else:
        text = f"the fastest of the {_number(len(lightest))} with the fewest parameters"
    return f"{text}{ASIDE}" if len(learners) < len(ties) else text


def _quickest(headline: Headline) -> str:
    """Return `` In onnxruntime, gap takes 2.21 ms.``, or for another model `` Faster in compile: fc at .., 2 ms.``"""
    quickest = headline.quickest
    if not quickest or not quickest.result.latency:
        return ""
    result, latency = quickest.result, units.median(quickest.result.latency)
    variant = _short(result.case.variant_name)
    if quickest.is_own:
        name = result.series if isinstance(result.case.architecture, Parts) else reducer(result)
        return f" In {variant}, {_short(name)} takes {latency}."
    return f" Faster in {variant}: {_name(result, headline)}, {latency}."


def _by_task(answers: Sequence[Recommendation]) -> str:
    """Return ``direction: take spatial-softmax/64 (sure); identity: open``, with a shared place named once."""
    candidates = [candidate for answer in answers[:TASKS] if (candidate := answer.pick or answer.leading)]
    places = {around(candidate.quality) for candidate in candidates}
    common = places.pop() if len(candidates) > 1 and len(places) == 1 else ""
    texts = [f"{cut(one_line(answer.name), LONG)}: {_answer(answer, common)}" for answer in answers[:TASKS]]
    texts += [f"all{one_line(common)}"] if common else []
    count = len(answers) - TASKS
    texts += [f"{counted(count, 'more task')} below"] if count > 0 else []
    text = "; ".join(texts)
    return f"{text[:1].upper()}{text[1:]}."


def _answer(answer: Recommendation, common: str) -> str:
    if answer.pick:
        latency = answer.pick.result.latency
        cost = f", {units.median(latency)} a call" if latency else ""
        return f"take {_candidate(answer.pick, common)}{_in_variant(answer.pick.result)}{cost} ({answer.grade})"
    return f"open{f', {_candidate(answer.leading, common)} leads' if answer.leading else ', no pick'}"


def _candidate(candidate: Candidate, common: str) -> str:
    """Return the reducer at its size, and its surroundings unless they end with ``common``."""
    return f"{_with_size(candidate.result)}{one_line(around(candidate.quality).removesuffix(common))}"


def _in_variant(result: Result) -> str:
    """Return `` in int8+onnxruntime``; empty for eager PyTorch."""
    return f" in {_short(result.case.variant_name)}" if result.case.variant else ""


def _tie(ties: Sequence[Result], place: str) -> str:
    """Return ``Six reducers tie on conv at 5.60 to 6.10 ms``."""
    names, sizes = {result.row for result in ties}, {result.lstm_input for result in ties}
    members = "sizes" if len(sizes) == len(ties) else "configurations"  # such as fc with an activation and without
    name = _short(ties[0].series)
    count, noun = (len(names), f"{kind(ties)}s") if len(names) > 1 else (len(ties), f"{members} of {name}")
    latencies = [result.latency for result in ties if result.latency]
    low, high = units.median(min(latencies)), units.median(max(latencies))
    span = low if low == high else units.extent(low, high)
    return f"{_number(count).capitalize()} {noun} tie{place} at {span}"


def _position(headline: Headline, conjunction: str) -> str:
    return (
        f"{conjunction}{_name(headline.position_pick, headline)} if position matters" if headline.position_pick else ""
    )


def _name(result: Result, headline: Headline) -> str:
    """Return the reducer at its size, or a user's model, with its options if contenders of that name differ in them."""
    names = {reducer(contender.result) for contender in headline.ranking if contender.result.series == result.series}
    return _with_size(result, reducer(result) if len(names) > 1 else result.series)


def _with_size(result: Result, name: str = "") -> str:
    """Return the reducer at its size; with its options unless another name is given."""
    size = f" at {cell(result.case.architecture)} input {result.lstm_input:,}" if result.lstm_input else ""
    return f"{_short(name or reducer(result))}{size}{after_norm(result.case.architecture)}"


def _short(name: str) -> str:
    return cut_name(one_line(name), LONG)


def _number(count: int) -> str:
    return WORDS[count] if count < len(WORDS) else f"{count:,}"
