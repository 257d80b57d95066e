"""Test the terminal's table and lines: golden text, narrow terminals, hostile names."""

import io
import re
from dataclasses import replace

import pytest
import records
from rich.console import Console

from convbench.cli.terminal import LOG_WIDTH, Stream, console
from convbench.core import metrics
from convbench.core.case import common_options, id_matches
from convbench.core.record import Case, Choice, Reading, Recurrent, Whole
from convbench.report.terminal.progress import watcher
from convbench.report.terminal.table import ResultTable, line
from convbench.report.words.names import apart


def printed(run_records, width):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(ResultTable(run_records))
    return out.getvalue()


def article():
    sizes = (("gap", None, 2e-3), ("fc", 128, 9e-3), ("flatten", None, 50e-3))
    return [records.record(records.case(name, size), samples=0 if time is None else 2, latency=time)
            for name, size, time in sizes]  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 120, 160, 40])
def test_no_line_is_wider_than_the_terminal(width):
    run_records = records.default_records()
    text = printed(run_records, width)
    assert max(map(len, text.splitlines())) <= width
    assert width < 80 or "fc(activation=true)" in text


def test_the_articles_models_at_120_columns():
    lines = [text.split() for text in printed(article(), 120).splitlines()]
    heads = "reducer LSTM in variant params MACs latency 95 % interval × memory frames/s"
    assert lines[1] == heads.split()
    assert [row[0] for row in lines[2:]] == ["gap", "fc", "flatten"]
    assert lines[2][1:7] == ["32", "eager", "83.8", "k", "57.9", "M"]
    assert lines[4][1:7] == ["131,072", "eager", "67.2", "M", "1.13", "G"]
    assert {"too", "few", "samples"} <= set(lines[2])


@pytest.mark.parametrize("cells", [("gru",), ("lstm", "gru")])
def test_a_table_names_the_cell_whose_input_size_it_shows(cells):
    """The table of a run of GRUs was headed "LSTM in"."""
    text = printed([records.record(records.case(parts={"rnn": Recurrent(cell)})) for cell in cells], 100)
    assert re.findall(r"(\w+) in ", text) == [cell.upper() for cell in cells]


def test_groups_that_are_not_comparable_have_separate_tables():
    text = printed([records.record(), records.record(records.case(scenario="streaming"))], 100)
    assert text.count("1.00×") == 2
    assert "streaming, cpu, clip 1x16x3x64x64, fp32" in text
    assert "environment" not in text


def test_the_largest_table_comes_first():
    text = printed([records.record(records.case(scenario="streaming")), *article()], 100)
    assert text.index("inference, cpu") < text.index("streaming, cpu")


def test_tables_of_two_machines_name_them():
    text = printed([replace(records.record(), environment=name) for name in ("one", "two")], 100)
    assert [name for name in ("one", "two") if f", environment {name}\n" in text] == ["one", "two"]


def test_factors_over_two_cases_are_explained():
    """Of a table with factors over a single case, the fastest is obvious."""
    eager, compiled = ([records.record(records.case(name, size, variant=variant)) for name, size in
                        (("gap", None), ("fc", 128))] for variant in ("eager", "compile"))  # fmt: skip
    assert "in the same variant" not in printed(eager, 100)
    assert "in the same variant" in printed([*eager, *compiled], 100)


@pytest.mark.parametrize("width", [80, 90, 100])
def test_a_column_is_shown_in_all_tables_or_none(width):
    """Below 96 columns a table of counts alone used to show params, and the tables with latencies did not."""
    train = records.record(records.case(scenario="train"))
    counted = replace(train, readings=tuple(reading for reading in train.readings if reading.metric.unit == "1"))
    long = records.record(records.case("spatial-softmax", 64, scenario="streaming"))
    heads = [text.split() for text in printed([*article(), counted], width).splitlines() if text.startswith("reducer")]
    beside = printed([*article(), counted, long], width)
    of_long = [text.split() for text in beside.splitlines() if text.startswith("reducer")]
    assert ["params" in head for head in heads] == [True, True]
    assert len({"memory" in head for head in of_long if "latency" in head}) == 1
    assert len({"params" in head for head in of_long}) == 1
    assert max(map(len, beside.splitlines())) <= width


def test_the_column_of_whole_models_is_called_model():
    models = [replace(record, case=replace(record.case, architecture=Whole(Choice(f"shop:{name}"))))
              for name, record in zip("abc", article(), strict=True)]  # fmt: skip
    assert printed(models, 120).splitlines()[1].split()[0] == "model"
    assert "reducer" in printed([*models, *article()], 120)


def test_a_long_name_is_folded_and_not_cut():
    """The options, which distinguish one model from another, used to be cut off."""
    models = [replace(records.record(), case=Case(Whole(Choice("a.package:and_a_long_name", (("hidden", size),)))))
              for size in (4_096, 8_192)]  # fmt: skip
    column = "".join(text.split()[0] for text in printed(models, 60).splitlines()[2:])
    assert all(f"a.package:and_a_long_name(hidden={size})" in column for size in (4_096, 8_192))


def test_without_a_latency_a_table_of_long_names_has_numbers():
    """Parameters, MACs and memory were left out beside a name that alone fills the terminal."""
    model = Case(Whole(Choice(f"a.package:{'and_a_long_name' * 5}")))
    lines = printed([replace(records.record(samples=0), case=model)], 80).splitlines()
    assert lines[1].split() == ["model", "variant", "params", "MACs", "memory"]
    assert "83.8 k" in lines[2]
    assert max(map(len, lines)) <= 80


def test_failed_and_skipped_cases_are_listed_with_their_reason():
    text = printed(records.default_records(), 200)
    assert "wrong output: output differs from eager: max 0.3" in text
    assert "unavailable: no jemalloc here" in text


def test_a_reason_that_several_cases_share_is_stated_once():
    """A sweep in streaming listed 16 models, each with the same two lines of reason."""
    cases = [records.failed(records.case(name)) for name in ("gem", "gmp", "gap")]
    lines = printed([*cases, replace(cases[0], case=records.case("fc"), status="skipped")], 200).splitlines()
    assert [text.strip() for text in lines[:4]] == ["failed  wrong output: output differs from eager: max 0.3",
                                                    *(record.case.id for record in cases)]  # fmt: skip
    assert lines[4].startswith(f"skipped {records.case('fc').id}  ")


def test_a_case_takes_one_line():
    few = records.record(records.case("fc", 128), samples=2, latency=3e-3)
    assert line(few).startswith("ok      conv/fc/128/lstm128/1x16x3x64x64/eager/inference/cpu  ")
    assert line(few).endswith("16.9 M params, 327 M MACs")
    alone = replace(few, readings=tuple(reading for reading in few.readings if reading.metric.name == "params"))
    assert line(alone).endswith("/cpu  16.9 M params")
    sizes = replace(few, readings=(Reading(metrics.CPU_PEAK, (3 << 20,)), Reading(metrics.PREDICTED, (2 << 20,))))
    assert line(sizes).endswith("/cpu  memory 3.00 MiB, predicted memory 2.00 MiB")
    gem = records.failed(records.case("gem"))
    assert line(gem) == f"failed  {gem.case.id}  wrong output: output differs from eager: max 0.3"


def test_a_line_omits_what_models_of_a_name_share():
    """With inputs, stages and a step, ids of documented suites used to have 180 characters, most of them the same."""
    stages = (("backbone", "cnn"), ("lstm", "rnn"))
    models = [Whole(Choice("net:build", (("hidden", size),)), "net:inputs", stages) for size in (32, 64)]
    cases = [Case(model) for model in models]
    name = "net:build(hidden=32,…)/1x16x3x64x64/eager/inference/cpu"
    assert cases[0].short_id(common_options(models)) == name
    assert cases[0].short_id(common_options(models[:1])) == "net:build(…)/1x16x3x64x64/eager/inference/cpu"
    assert apart([cases[0].id]) == ([cases[0].short_id(common_options(models[:1]))], [])
    assert apart([case.id for case in cases])[0] == ["net:build(hidden=32,…)", "net:build(hidden=64,…)"]
    assert apart(["net:build/1x2x3x4x4/eager", "net:build(k=1)/1x2x3x4x4/eager"])[0] == ["net:build", "net:build(k=1)"]
    typed = [Whole(Choice("net:build", (("k", value), ("h", 3)))) for value in (1, True, 1.0)]  # equal for Python
    ends = [f"net:build(k={value},…)/1x16x3x64x64/eager/inference/cpu" for value in ("1", "true", "1.0")]
    assert [Case(model).short_id(common_options(typed)) for model in typed] == ends
    assert [id_matches(case.id, [name]) for case in cases] == [True, False]
    failures = [records.failed(case, "no room", "error") for case in cases]
    assert f"failed  {name}  error: no room" in printed(failures, 200)
    written = io.StringIO()
    watched = watcher(Console(file=written, width=200), False, cases, count=0, total=2)
    watched.ended(failures[0])
    assert f"failed  {name}" in written.getvalue()


def test_a_trial_takes_one_line():
    trained = records.lesson(0.856, "identity", 3, 2e-3, flag="dead_run")
    assert line(trained) == (
        "ok      conv/gap/32/lstm128/1x16x3x64x64/eager/learn/cpu/identity/lr=0.002/seed=3  "
        "test accuracy 85.6 %, chance 10.0 %  (dead_run)"
    )
    assert line(records.probed(0.98, 0.5)).endswith("placed-digit/seed=0  where R² 0.98, what accuracy 50.0 %")


def test_trials_add_no_rows_to_the_table_of_costs():
    costs = [records.record(), records.record(records.case("gmp"))]
    assert printed([records.lesson(), *costs, records.probed(0.1, 0.2)], 120) == printed(costs, 120)


def test_control_characters_do_not_reach_the_terminal():
    hostile = records.failed(records.case("\x1b[31mred\n\x07"), "\x1b]0;title\x07")
    for text in (line(hostile), printed([hostile], 100)):
        assert "\x1b" not in text
        assert "\x07" not in text
    assert "\n" not in line(hostile)


@pytest.mark.parametrize(("columns", "width"), [("0", LOG_WIDTH), ("", LOG_WIDTH), ("40", 40), ("-5", 80)])
def test_a_width_of_zero_is_none_at_all(monkeypatch, capsys, columns, width):
    """Nothing was printed, as rich does on a terminal of no width."""
    monkeypatch.setenv("COLUMNS", columns)
    screen = console()
    screen.print("text")
    assert (screen.width, capsys.readouterr().out) == (width, "text\n")


def test_a_line_is_readable_in_a_pipe_as_soon_as_it_is_written():
    """Cases of ``fits`` were shown when all had ended."""
    pipe = io.BytesIO()
    stream = Stream(io.TextIOWrapper(pipe, encoding="utf-8"))
    stream.write("a case\nan unfinished")
    assert pipe.getvalue() == b"a case\nan unfinished"


def test_many_cases_do_not_flood_the_terminal():
    text = printed(records.many(120), 100)
    assert len(text.splitlines()) == 104
    assert text.splitlines()[-2:] == [
        "and 20 more in the report and in results.csv",
        "× is the latency over that of the fastest case in the same variant.",
    ]


def test_without_records_nothing_is_printed():
    assert printed([], 80).strip() == ""


def test_a_table_of_cases_omits_what_all_share():
    ids = [records.case(name, size).id for name, size in (("gap", None), ("fc", 128))]
    assert apart(ids) == (["gap/32", "fc/128"], ["conv", "lstm128", "1x16x3x64x64", "eager", "inference", "cpu"])
    assert apart(ids[:1]) == (ids[:1], [])
    assert apart([ids[0], "mypkg.net:build/1x2x3x8x8/eager/inference/cpu"])[0][0] == ids[0]


@pytest.mark.parametrize("width", [40, 56, 80, 160])
def test_a_narrow_table_breaks_no_number(width):
    from convbench.cli.terminal import print_table

    rows = [("conv/spatial-softmax/64", "1.234 ms", "0.991, 1.012", "ok", ""), ("gap", "–", "–", "regression", "")]
    out = io.StringIO()
    screen = Console(file=out, width=width, color_system=None)
    headings = ("case", "head", "95 % interval", "verdict", "a column without a value")
    print_table(screen, headings, rows, "smoke: head", wrapping=("case", "verdict"))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "without a value" not in out.getvalue()
    for whole in ("smoke: head", "1.234 ms", "0.991, 1.012"):
        assert any(whole in text for text in lines)
    if width == 56:
        assert [text[:18].rstrip() for text in lines[2:5]] == ["conv/", "spatial-softmax/", "64"], (
            "broken within a name"
        )
    if width == 40:
        block = ["conv/spatial-softmax/64", "  head: 1.234 ms", "  95 % interval: 0.991, 1.012", "  verdict: ok"]
        assert [text.rstrip() for text in lines[1:5]] == block


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_interval_outlasts_other_columns(width):
    """At 80 columns the interval was dropped, and the frames per second were kept."""
    head = next(text for text in printed(records.many(20), width).splitlines() if text.startswith("reducer"))
    assert "95 % interval" in head
    assert ("frames/s" in head) == (width > 80)
