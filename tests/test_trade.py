"""What a trained model loses and gains in int8 or another runtime: closed forms on invented records."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import records

from convbench.analysis.choice.by_budget import by_quality, steps
from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.recommendation import Ask
from convbench.analysis.costs.headlines import headline_of
from convbench.analysis.results import results
from convbench.report.export.advice_json import plain
from convbench.report.page.budget import budget
from convbench.report.page.quality_section import section
from convbench.report.words import advice, quality, trade
from convbench.report.words.first_lines import decision

LOSSES = (0.002, 0.004, 0.003)


def tried(variants=(("eager", 40e-3, (0.0, 0.0, 0.0)), ("int8", 5e-3, LOSSES)), reducer="flatten"):
    """Return a model's records: each variant has its seconds and its loss of accuracy for each seed."""
    run_records = []
    for variant, seconds, losses in variants:
        of = records.case(reducer, variant=variant)
        noted = {"dtype": variant} if variant == "int8" else {}
        run_records.append(replace(records.record(of, latency=seconds), conditions=noted))
        run_records += [records.lesson(0.9 + seed / 100 - loss, seed=seed, of=of) for seed, loss in enumerate(losses)]
    return run_records


def answered(run_records, **how):
    (answer,) = recommendations(run_records, Ask(**how))
    return answer


def test_int8_flatten_reports_its_lost_points_and_its_speedup() -> None:
    answer = answered(tried())
    (variant_trade,) = answer.trades
    assert variant_trade.gain.median == pytest.approx(-0.003)
    half = 4.3027 * 0.001 / 3**0.5
    assert (variant_trade.gain.low, variant_trade.gain.high) == pytest.approx((-0.003 - half, -0.003 + half), rel=1e-3)
    assert variant_trade.speedup.median == pytest.approx(8, rel=0.03)
    sentence = trade.sentence(answer)
    assert sentence.startswith(
        "The same trained models run otherwise: flatten, LSTM input 131,072 in int8 loses 0.3 points"
    )
    assert "[0.1, 0.5] and is 8" in sentence
    assert sentence in advice.sentences(answer)
    assert answer.pick.result.case.variant_name == "int8"


@pytest.mark.parametrize(("begin", "gains"), [(0, [-0.003]), (1, [-0.0035]), (2, [])])
def test_a_trade_is_of_the_seeds_that_both_have(begin, gains):
    int8 = ("int8", 5e-3, (*LOSSES, 0.001))
    seeds = [r for r in tried((("eager", 40e-3, (0.0, 0.0, 0.0)), int8)) if not r.case.trial or not r.case.variant
             or r.case.trial.seed >= begin]  # fmt: skip
    assert [pair.gain.median for pair in answered(seeds).trades] == pytest.approx(gains)


def test_a_trade_is_with_eager_itself_and_without_its_quality_there_is_none():
    compiled = replace(records.record(records.case("flatten", variant="compile"), latency=20e-3), conditions={})
    (pair,) = answered([*tried(), compiled]).trades
    assert (pair.eager.result.case.variant_name, pair.speedup.median) == ("eager", pytest.approx(8, rel=0.03))
    once = answered([*tried((("eager", 40e-3, (0.0,)), ("int8", 5e-3, LOSSES))), compiled])
    assert (once.trades, [entry.why for entry in once.excluded]) == ((), ["few-seeds"])
    fewer = answered(tried((("eager", 40e-3, LOSSES), ("int8", 5e-3, LOSSES[:1]))))
    assert advice.sentences(fewer)[-1] == "Left out: flatten 131,072 in int8 (fewer than 2 sound seeds)."


def test_the_page_without_a_limit_agrees_with_its_title() -> None:
    """The budget used to ignore variants: it said eager although the title said int8."""
    case_results = results(tried())
    answers = quality.recommend(case_results)
    at_no_limit = by_quality(case_results).answers[-1][-1]
    assert [answer.pick.result.case for answer in at_no_limit] == [answer.pick.result.case for answer in answers]
    assert decision(headline_of(case_results), answers) == f"Direction: {TAKE}."


def test_limits_that_admit_the_same_models_differ_if_one_may_admit_an_untimed_model() -> None:
    """A greater limit of memory admits fc, whose latency is not known, so that conv1x1-avg-k is no longer sure."""
    run_records = [
        records.record(record.case, samples=0) if record.case.id.startswith("conv/fc") and not record.case.trial
        else record
        for record in records.quality_records(3, ("direction",))
    ]  # fmt: skip
    row = by_quality(results(run_records)).answers[-2]
    assert [answer.grade for (answer,) in (row[1], row[-2])] == ["sure", "provisional"]


TAKE = "take flatten at LSTM input 131,072 in int8, 4.96 ms a call (sure)"


@pytest.mark.parametrize(("tasks", "ending"), [(3, ""), (4, "; 1 more task below"), (5, "; 2 more tasks below")])
def test_the_title_names_three_tasks_and_counts_the_others(tasks, ending):
    case_results = results(several_tasks(tasks))
    title = decision(headline_of(case_results), quality.recommend(case_results))
    assert title == f"Direction: {TAKE}; task0: {TAKE}; task1: {TAKE}{ending}."


def several_tasks(count):
    """Return the records of one model that was trained on ``count`` tasks with the same outcome."""
    run_records = tried()
    lessons = [record for record in run_records if record.case.trial]
    for number in range(count - 1):
        task = records.choice(f"task{number}")
        of_task = [replace(one.case, trial=replace(one.case.trial, task=task)) for one in lessons]
        run_records += [replace(one, case=case) for one, case in zip(lessons, of_task, strict=True)]
    return run_records


def test_every_answer_within_a_budget_has_its_row():
    """With quality, no answer had a row, and so no button and no ring. A fifth task was left out silently."""
    case_results = results(several_tasks(5))
    data = budget(case_results)
    at_no_limit = [data["answers"][code] for code in data["cells"][-1]]
    assert [row is not None and case_results[row].case.variant_name for _, row in at_no_limit] == ["int8"] * 4 + [False]
    assert at_no_limit[-1][0] == "1 more task is answered by convbench advise."


@pytest.mark.parametrize(
    ("name", "values", "limits"),
    [
        ("latency", (9e-3, 2.1e-3, math.inf, 0.0), (2e-3, 2.5e-3, 3e-3, 4e-3, 5e-3, 6e-3, 8e-3, 10e-3)),
        ("latency", (5e-3,), (5e-3,)),
        ("latency", (math.inf, 0.0), ()),
        ("latency", (1e-6, 2e-5), (1e-6, 1.2e-6, 1.5e-6, 2e-6, 2.5e-6, 3e-6, 4e-6, 5e-6, 6e-6, 8e-6, 1e-5, 1.2e-5,
                                   1.5e-5, 2e-5)),
        ("latency", (1e-6, 4e-5), (1e-6, 1.5e-6, 2.5e-6, 4e-6, 6e-6, 1e-5, 1.5e-5, 2.5e-5, 4e-5)),
        ("memory", (3 * 2**20, 6.5 * 2**20), tuple(size * 2.0**20 for size in (3, 3.5, 4, 5, 6, 7))),
    ],
)  # fmt: skip
def test_the_limits_on_offer_are_at_most_sixteen_round_values_around_all_costs(name, values, limits):
    assert steps(values, name) == (*limits, math.inf)


def test_the_difference_is_paired_by_seed() -> None:
    """Seeds are a point apart, and int8 loses 0.2 to 0.4 points on each."""
    (variant_trade,) = answered(tried()).trades
    assert variant_trade.gain.high < 0


def test_a_slower_variant_without_a_loss_says_so() -> None:
    level = (0.0, 0.0, 0.0)
    answer = answered(tried((("eager", 5e-3, level), ("int8", 10e-3, level))))
    assert "in int8 loses no accuracy and takes 1.98×" in trade.sentence(answer)
    assert "eager's time" in trade.sentence(answer)


def test_a_variant_without_its_own_evaluation_has_no_trade() -> None:
    of = records.case("flatten", variant="compile")
    only = [record for record in tried() if record.case.variant_name == "eager"]
    answer = answered([*only, records.record(of, latency=1e-3)])
    assert answer.trades == ()
    assert trade.sentence(answer) == ""


def test_a_trade_over_the_budget_is_still_shown() -> None:
    answer = answered(tried(), constraints={"latency": 10e-3})
    assert [variant_trade.variant.quality.variant for variant_trade in answer.trades] == ["int8"]


@pytest.mark.parametrize(
    ("losses", "cell", "words"),
    [
        ((0.0, 0.0, 0.0, 0.0, 0.002), "+0.0 [-0.2, +0.1]", "loses 0.0 points [-0.1, 0.2]"),
        ((0.003, 0.001, 0.001, 0.001, 0.0), "-0.1 [-0.3, +0.0]", "loses 0.1 points [0.0, 0.3]"),
        ((-0.012, -0.008, -0.01, -0.011, -0.009), "+1.0 [+0.8, +1.2]", "gains 1.0 point [0.8, 1.2]"),
    ],
)
def test_a_difference_that_rounds_to_zero_has_no_minus(losses, cell, words) -> None:
    run_records = tried((("eager", 5e-3, (0.0,) * 5), ("int8", 4e-3, losses)))
    answer = answered(run_records)
    assert section(results(run_records), [answer])["tasks"][0]["trades"][0]["gain"] == cell
    assert trade.loss(answer.trades[0]) == words


def test_the_sentence_has_three_trades_of_the_pick_and_the_fastest_of_three_others() -> None:
    names = ("int8", "half", "autocast", "channels_last", "eager")
    variants = [(name, 1e-3 * place, LOSSES) for place, name in enumerate(names, start=5)]
    run_records = [*tried(variants, "gap"), *(r for name in ("gmp", "gem", "avg-k", "flatten") for r in tried(
        [(variant, 10 * seconds, losses) for variant, seconds, losses in variants], name))]  # fmt: skip
    words = trade.sentence(answered(run_records)).partition(": ")[2].split("; ")
    places = [(text.partition(",")[0], text.partition(" in ")[2].split()[0]) for text in words]
    assert places[:3] == [("gap", "int8"), ("gap", "half"), ("gap", "autocast")]
    assert [variant for _, variant in places[3:]] == ["int8"] * 3
    assert len({name for name, _ in places}) == 4


def test_the_page_and_the_json_have_every_trade() -> None:
    run_records = [*tried(), *tried((("eager", 4e-3, LOSSES), ("int8", 3e-3, LOSSES)), "gap")]
    answer = answered(run_records)
    data = section(results(run_records), [answer])
    (task,) = data["tasks"]
    assert [(row["series"], row["variant"]) for row in task["trades"]] == [("flatten", "int8"), ("gap", "int8")]
    assert task["trades"][0]["gain"] == "-0.3 [-0.5, -0.1]"
    trades = plain(answer)["trades"]
    assert [row["case"].split("/")[1] for row in trades] == ["flatten", "gap"]
    assert trades[0].keys() == {"case", "accuracy", "gain", "gain_low", "gain_high", "speedup"}
    assert trades[0]["gain_low"] < trades[0]["gain"] < trades[0]["gain_high"] < 0
