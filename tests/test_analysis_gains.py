"""Speed-ups over the eager twin, when compiling pays, allocators that differ, and how sure a ranking is."""

from dataclasses import replace

import pytest
import records

from convbench.analysis.costs.gains import by_variant, gains
from convbench.analysis.costs.headlines import Confidence
from convbench.analysis.costs.ranking import Contender, quickest
from convbench.analysis.results import results
from convbench.core.record import Case, Choice
from convbench.core.statistics import Interval


def pair(variant="compile", eager=10e-3, varied=2e-3, **more):
    twin = records.record(latency=eager)
    return results([twin, records.record(records.case(variant=variant), latency=varied, **more)])


def test_speed_up_is_eager_over_the_variant():
    (gain,) = gains(pair())
    assert gain.speedup.low < 5 < gain.speedup.high
    assert gain.speedup.high / gain.speedup.low < 1.1


@pytest.mark.parametrize(("eager", "varied"), [(10e-3, 2e-3), (20.0, 2.0)])  # the second saves more than 4.2 s a call
def test_compiling_pays_after_the_whole_calls_that_save_its_time(eager, varied):
    """A saving greater than the time of compiling read "pays off after at most 0 calls"."""
    (gain,) = gains(pair(eager=eager, varied=varied))
    saved = gain.eager.latency.median * (1 - 1 / gain.speedup.median)
    assert (gain.pays_after - 1) * saved < 4.2 <= gain.pays_after * saved


def test_an_uncertain_speedup_is_not_said_to_pay():
    """The medians of two readings differed by a little, and "pays after 300,000 calls" stood beside 1.00×."""
    (gain,) = gains(pair(eager=2e-3, varied=1.99e-3))
    assert gain.speedup.low < 1
    assert gain.pays_after is None


def test_a_slower_compiled_model_never_pays():
    (gain,) = gains(pair(eager=2e-3, varied=3e-3))
    assert gain.pays_after is None


def test_a_variant_that_is_not_compiled_has_nothing_to_pay():
    (gain,) = gains(pair("channels_last"))
    assert gain.pays_after is None


def test_a_variant_without_an_eager_twin_has_no_gain():
    alone = records.record(records.case(variant="compile"))
    elsewhere = records.record(records.case(), environment="e2")
    assert gains(results([alone, elsewhere, records.failed(records.case())])) == []


def test_different_allocators_are_named():
    arena = Case(records.parts(), variant=(Choice("allocator", (("malloc", "glibc-arena"),)),))
    twin = replace(records.record(), conditions={"allocator": "glibc"})
    varied = replace(records.record(arena), conditions={"allocator": "glibc-arena"})
    (gain,) = gains(results([twin, varied]))
    assert gain.allocators == ("glibc", "glibc-arena")
    assert gains(pair())[0].allocators is None


def test_variants_are_sorted_by_median_speedup_with_the_greatest_first():
    variant_gains = by_variant(gains(results(records.default_records())))
    assert [row.variant for row in variant_gains] == ["channels_last+compile", "compile", "channels_last"]
    assert all(row.speedup.low <= row.speedup.median <= row.speedup.high for row in variant_gains)
    assert {len(row.gains) for row in variant_gains} == {12}


def test_the_quicker_model_of_another_variant_is_the_lightest_of_its_fastest():
    """It is the pick's own model if that gains; a light model that is slow there is not offered."""
    times = {
        ("gap", "eager"): 10e-3,
        ("flatten", "compile"): 1e-3,
        ("gmp", "compile"): 1.04e-3,
        ("gem", "compile"): 5e-3,
    }
    members = results(
        [records.record(records.case(name, variant=variant), latency=time) for (name, variant), time in times.items()]
    )
    quicker = quickest(members[0], members)
    assert (quicker.result, quicker.is_own) == (members[2], False)
    assert quicker.speedup.median == pytest.approx(10 / 1.04, rel=0.02)
    own = results([records.record(records.case("gap", variant="compile"), latency=2e-3)])
    assert quickest(members[0], [*members, *own]).result is own[0]
    assert quickest(members[0], [members[0], *results([records.record(records.case("gmp"), latency=1e-3)])]) is None
    barely = results([records.record(records.case("gap", variant="compile"), latency=9.2e-3)])
    assert quickest(members[0], [members[0], *barely]) is None


@pytest.mark.parametrize(
    ("factor", "tied", "is_open"),
    [
        ((1.3, 1.11, 1.5), False, False),
        ((1.3, 1.09, 1.5), True, True),
        ((1.2, 1.0, 1.09), True, False),
        ((1.1, 1.08, 1.13), True, False),  # known to 3 %
    ],
)
def test_a_contender_is_tied_up_to_a_tenth_and_open_while_visits_may_tell(factor, tied, is_open):
    contender = Contender(results([records.record()])[0], Interval(*factor))
    assert (contender.tied, contender.open) == (tied, is_open)


@pytest.mark.parametrize(
    ("confidence", "level"),
    [
        ((2, 0, 0, 0.2, 1.0), "high"), ((2, 1, 0, 0.1, 1.0), "medium"), ((2, 0, 1, 0.1, 1.2), "medium"),
        ((2, 0, 0, 0.21, 1.0), "low"), ((1, 0, 0, 0.1, 1.0), "low"), ((None, 0, 0, 0.1, 1.0), "low"),
        ((2, 1, 0, 0.1, 1.21), "low"),
    ],
)  # fmt: skip
def test_confidence_needs_two_visits_a_narrow_interval_and_nothing_open(confidence, level):
    assert Confidence(*confidence).level == level
