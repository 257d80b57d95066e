"""Speed-ups over the eager twin, when compiling pays, and allocators that differ."""

from dataclasses import replace

import pytest
import records

from convbench.analysis.costs.gains import by_variant, gains
from convbench.analysis.results import results
from convbench.core.record import Case, Choice


def pair(variant="compile", eager=10e-3, varied=2e-3, **more):
    twin = records.record(latency=eager)
    return results([twin, records.record(records.case(variant=variant), latency=varied, **more)])


def test_speed_up_is_eager_over_the_variant():
    (gain,) = gains(pair())
    assert gain.speedup.low < 5 < gain.speedup.high
    assert gain.speedup.high / gain.speedup.low < 1.1


def test_compiling_pays_after_its_time_over_the_saving_per_call():
    (gain,) = gains(pair())
    saved = gain.eager.latency.median * (1 - 1 / gain.speedup.median)
    assert gain.pays_after == pytest.approx(4.2 / saved)


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
