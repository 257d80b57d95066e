"""What is shown first, and which points make a curve."""

import records

from convbench.analysis.costs.selection import FEW, curves, opening
from convbench.analysis.results import results


def joined(*cases):
    return curves(results([records.record(case) for case in cases]))


def test_sizes_of_a_free_reducer_make_a_curve():
    assert joined(records.case("fc", 8), records.case("fc", 32), records.case("hybrid", 8)) == [0, 0, None]


def test_where_the_map_sets_the_size_the_backbone_varies_along_the_curve():
    assert joined(records.case("gap", channels=8), records.case("gap"), records.case("gmp")) == [0, 0, None]


def test_a_free_reducer_has_a_curve_for_each_backbone():
    cases = [records.case("fc", size, channels) for channels in (8, 32) for size in (16, 64)]
    assert joined(*cases) == [0, 0, 1, 1]


def test_variants_are_curves_of_their_own():
    cases = [records.case("fc", size, variant=how) for how in ("eager", "compile") for size in (16, 64)]
    assert joined(*cases) == [0, 0, 1, 1]


def test_the_first_view_is_the_widest_group_with_all_variants():
    first = opening(results(records.default_records()))
    assert (first.device, first.scenario, first.variant) == ("cpu", "inference", None)


def test_above_a_few_points_only_the_most_frequent_variant_is_shown():
    found = results(records.many(FEW + 2))
    first = opening(found)
    assert first.variant == "eager"
    assert sum(one in first for one in found) == FEW // 4 + 1


def test_nothing_measured_has_no_first_view():
    assert opening(results([records.failed(records.case())])) is None
