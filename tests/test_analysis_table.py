"""Rows of --json and results.csv: agreed columns first, exact numbers in full, nothing unmeasured."""

import json
import math
from dataclasses import replace

import pytest
import records

from convbench.analysis import table
from convbench.analysis.results import Group, costs, dtype, measured_results, result, results, sustained_rate
from convbench.core.record import Case, Choice, Record, Whole
from convbench.report.page import rows as page_rows


def test_a_row_begins_with_the_agreed_columns():
    assert tuple(table.row_of(result(records.record())))[: len(table.COLUMNS)] == table.COLUMNS


def test_counts_of_the_article_are_whole_numbers():
    row = table.row_of(result(records.record(records.case("fc", 128))))
    assert (row["params"], row["macs"], row["flops"]) == (16_910_336, 327_155_712, 654_311_424)
    assert all(isinstance(row[name], int) for name in ("params", "macs", "macs_lstm", "memory_peak_bytes"))


def test_a_row_names_a_number_type_other_than_float32():
    """The rows of a model in float64 beside one in float32 did not tell them apart."""
    double = replace(records.record(records.case("gmp")), conditions={"dtype": "fp64"})
    plain, wide = table.rows([records.record(), double])
    assert (plain["number_type"], wide["number_type"]) == (None, "fp64")
    place = [column.heading for column in page_rows.columns(results([records.record(), double]))]
    assert "Number type" in place and "Clip" not in place


def test_frames_per_second_follow_from_the_median():
    row = table.row_of(result(records.record(samples=101)))
    assert row["frames_per_s"] == pytest.approx(16 / row["latency_s_median"])
    assert row["latency_s_low"] < row["latency_s_median"] < row["latency_s_high"]


def test_too_few_samples_give_a_median_without_bounds():
    row = table.row_of(result(records.record(samples=3)))
    assert row["latency_s_median"] > 0
    assert row["latency_s_low"] is row["latency_s_high"] is None


def test_percentiles_appear_with_enough_samples_only():
    assert table.row_of(result(records.record(samples=63)))["latency_s_p90"] is None
    assert table.row_of(result(records.record(samples=64)))["latency_s_p90"] > 0


def test_a_failed_case_has_its_reason_and_no_numbers():
    row = table.row_of(result(records.failed(records.case())))
    assert row["status"] == "failed"
    assert row["error"] == "wrong output: output differs from eager: max 0.3"
    assert row["params"] is row["latency_s_median"] is None


def test_a_trainings_row_has_the_end_of_its_curves():
    row = table.row_of(result(records.lesson(0.8, "identity", 3, 2e-3, val=0.75, control="frame-shuffle")))
    assert (row["task"], row["seed"], row["learning_rate"], row["control"]) == ("identity", 3, 2e-3, "frame-shuffle")
    assert (row["test_accuracy"], row["val_accuracy"]) == (pytest.approx(0.8), pytest.approx(0.75))
    assert (row["steps"], row["train_accuracy"]) == (700, pytest.approx(0.85))
    assert row["latency_s_median"] is row["params"] is None


def test_a_probes_row_has_both_results():
    row = table.row_of(result(records.probed(0.98, 0.5)))
    assert (row["where_r2"], row["what_accuracy"], row["learning_rate"]) == (0.98, 0.5, None)


def test_trials_are_not_costs_and_come_last():
    case_results = results(
        [records.lesson(), records.record(), records.probed(0.1, 0.2), records.record(records.case("gmp"))]
    )
    assert [case_result.case.trial is None for case_result in case_results] == [True, True, False, False]
    assert measured_results(case_results) == costs(case_results) == case_results[:2]


def test_every_row_is_json():
    rows = [table.row_of(result(record)) for record in records.default_records()]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_a_whole_model_has_no_reducer():
    of = Case(Whole(Choice("mypkg.net:build")))
    row = table.row_of(result(records.record(of)))
    assert (row["reducer"], row["lstm_input"], row["model"]) == (None, None, "mypkg.net:build")


def test_the_frame_keeps_integers_beside_missing_values():
    run_records = records.default_records()
    frame = table.frame(run_records)
    assert list(frame.columns[: len(table.COLUMNS)]) == list(table.COLUMNS)
    assert len(frame) == len(run_records)
    text = frame.to_csv(index=False)
    assert ",67176320," in text
    assert "67176320.0" not in text
    assert "nan" not in text.lower()


def test_an_empty_run_still_has_its_columns():
    assert tuple(table.frame([]).columns) == table.COLUMNS


def test_memory_is_taken_from_the_cases_device():
    readings = (records.reading("cpu_peak_tensor_bytes", 1), records.reading("cuda_peak_allocated_bytes", 2))
    both = replace(records.record(), readings=readings)
    assert result(both).memory == 1
    assert result(replace(both, case=records.case(device="cuda:0"))).memory == 2


@pytest.mark.parametrize(("samples", "percentile"), [(63, None), (64, 90), (660, 99)])
def test_sustained_rate_needs_samples_for_its_percentile(samples, percentile):
    rate = sustained_rate(records.record(records.case(scenario="streaming"), samples=samples))
    assert (rate and rate[1]) == percentile
    assert sustained_rate(records.record(samples=samples)) is None


def test_a_group_never_spans_machine_device_clip_scenario_or_dtype():
    plain = result(records.record()).group
    bf16 = Case(records.parts(), variant=(Choice("autocast", (("dtype", "bf16"),)),))
    assert plain == Group("e1", "cpu", "1x16x3x64x64", "inference", "fp32", result(records.record()).group.threads)
    assert dtype(records.record(bf16)) == "bf16"
    others = [records.record(records.case(device="cuda:0")), records.record(records.case(scenario="streaming"))]
    others += [records.record(bf16), records.record(environment="e2")]
    assert len({plain, *(result(record).group for record in others)}) == 5


def test_infinite_and_missing_values_are_left_out():
    odd = Record(records.case(), "ok", (records.reading("params", math.inf), records.reading("latency_s")))
    assert table.row_of(result(odd))["params"] is None
    assert table.row_of(result(odd))["latency_s_median"] is None
