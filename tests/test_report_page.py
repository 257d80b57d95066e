"""The page as a file: self-contained, safe for any name, byte-identical when repeated, its data complete."""

import base64
import hashlib
import io
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path

import pytest
import records
from rich.console import Console

from convbench.analysis import table
from convbench.analysis.costs.headlines import headline_of
from convbench.analysis.costs.likeness import likeness
from convbench.analysis.results import result, results
from convbench.core import metrics
from convbench.core.errors import ConvbenchError, StoreError
from convbench.core.record import (
    Case,
    Choice,
    Clip,
    Failure,
    Finding,
    Metric,
    Protocol,
    Reading,
    Recurrent,
    Visit,
    Whole,
)
from convbench.report.export import summary
from convbench.report.page import compare, profile_section
from convbench.report.page import figure as figure_of_page
from convbench.report.page import run as page
from convbench.report.page.payload import payload
from convbench.report.page.quality_section import section
from convbench.report.page.rows import columns, entries, references
from convbench.report.page.view import view
from convbench.report.page.visits import distribution, percentiles
from convbench.report.terminal.table import ResultTable
from convbench.report.words import units
from convbench.report.words.quality import recommend

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}\u202egnp.exe\U0001f9e8"


class Parsed(HTMLParser):
    """Collects every tag with its attributes, and the text of every element by tag."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def attributes(self, name):
        return [values[name] for _, values in self.tags if name in values]


def written(run_records, tmp_path, **run):
    return page.write(records.run_of(run_records, **run), run_records, tmp_path / "out" / "index.html").read_text(
        "utf-8"
    )


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    return written(records.default_records(), tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return written(hostile_records(), tmp_path_factory.mktemp("page"), name=HOSTILE, suite=HOSTILE, command=HOSTILE,
                   environment={HOSTILE: HOSTILE, "cpu": "x" * 10_000}, equal={HOSTILE: (HOSTILE,)})  # fmt: skip


def hostile_records():
    """Return records with hostile text wherever a user's words can appear.

    Includes long names, a lone surrogate and control characters.
    """
    names = [HOSTILE, "n" * 10_000, "\ud800\x00\x1b\n\r\t", "مرحبا", "🧨" * 50]
    cases = [Case(records.parts(Choice(name), 8 + i)) for i, name in enumerate(names)]
    cases += [replace(case, variant=(Choice(HOSTILE),)) for case in cases]
    run_records = [records.record(case, latency=1e-3) for case in cases]
    run_records[0] = replace(
        run_records[0], findings=(Finding(HOSTILE, data={HOSTILE: HOSTILE}),), conditions={HOSTILE: HOSTILE}
    )
    run_records.append(replace(records.failed(cases[0]), failure=Failure("error", HOSTILE)))
    return [*run_records, records.record(Case(Whole(Choice(HOSTILE))))]


def test_the_page_fetches_nothing(default):
    parsed = Parsed(default)
    links = [*parsed.attributes("src"), *parsed.attributes("href"), *parsed.attributes("data")]
    assert all(link.startswith(("#", "data:,")) for link in links)
    assert "@import" not in default
    assert not re.search(r"url\((?!#)", default)


def test_the_content_policy_allows_the_script_by_its_hash(default):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', default)
    policy = policy.replace("&#39;", "'")
    script = default[default.rindex("<script>") + 8 : default.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.partition("style-src")[0]


def test_no_element_has_an_event_handler(default, hostile):
    for text in (default, hostile):
        assert not [name for _, values in Parsed(text).tags for name in values if name.startswith("on")]


def test_every_id_is_unique_and_every_reference_has_its_target(default):
    parsed = Parsed(default)
    ids = parsed.attributes("id")
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r"url\(#([\w-]+)\)", default.partition("<script")[0]))
    targets |= {
        name for key in ("aria-labelledby", "aria-describedby") for v in parsed.attributes(key) for name in v.split()
    }
    assert targets <= set(ids)


def test_the_same_records_give_the_same_bytes(tmp_path):
    first, again = (written(records.default_records(), tmp_path / name) for name in "ab")
    assert first == again


def test_a_default_report_is_small(default):
    assert len(default.encode()) <= 300 * 1024


def test_sections_follow_a_fixed_order(default):
    heads = re.findall(r'<h2 id="([\w-]+)"', default)
    assert heads == [
        "glance", "ranking", "trade-offs", "stages", "variants", "cases", "failures", "findings", "method",
    ]  # fmt: skip
    assert default.index("<h1>Ten reducers tie on conv at") < default.index("<h2")


def test_a_page_of_counts_leaves_out_unmeasured_parts(tmp_path):
    """It had a heading over nothing and three columns of dashes, and explained how latencies were measured."""
    kept = ("params", "macs", "flops", "adds")
    run_records = [
        replace(record, readings=tuple(r for r in record.readings if r.metric.name.partition("_")[0] in kept))
        for record in (records.record(records.case(name), samples=0) for name in ("gap", "fc"))
    ]
    page = written(run_records, tmp_path)
    assert "glance" not in re.findall(r'<h2 id="([\w-]+)"', page)
    table = page.partition('<table class="ranking">')[2].partition("</table>")[0]
    assert re.findall(r"<th[^>]*>([^<]+)</th>", table)[:5] == [
        "Reducer",
        "LSTM input",
        "Variant",
        "Parameters",
        "FLOPs",
    ]
    assert "–" not in table
    method = page.partition("How it was measured")[2]
    assert "No case has a latency. Parameters and MACs are exact" in method
    assert "Latency is" not in method and "Peak memory is" not in method
    assert "× is the latency" not in page and "limits of your budget" not in page


@pytest.mark.parametrize(
    ("visits", "sentence"),
    [
        ((1, 1), "One process per case. Latency is the median of calls after warm-up; one process cannot show"),
        ((1, 4), "visited in 1 to 4 fresh processes, in shuffled rounds."),
        ((3, 3), "visited in 3 fresh processes, in shuffled rounds."),
    ],
)
def test_the_page_says_how_often_cases_were_visited(visits, sentence, tmp_path):
    """A run that its budget ended after one round said that every case is visited in 3 fresh processes or more."""
    run_records = [
        replace(
            records.record(records.case(name)),
            visits=tuple(map(Visit, range(count))),
            readings=(replace(records.reading("latency_s", *[3e-3] * 5 * count), visits=(5,) * count),),
        )
        for name, count in zip(("gap", "gmp"), visits, strict=True)
    ]
    method = written(run_records, tmp_path, protocol=Protocol(visits=3)).partition("How it was measured")[2]
    assert sentence in " ".join(method.split())
    assert ("or for one visit 15 %" in method) == (visits == (1, 4))


def test_printed_findings_are_counted_and_shared_ones_not_listed(tmp_path):
    """Paper cannot fold: one kind of caution, listed with a sentence and an id per case, took four of 14 sheets."""

    def made(*shares):
        faults = {"faults_per_call": 6112.0, "allocator": "glibc"}
        return [
            replace(record, findings=(Finding("page_faults", "warning", {**faults, "system_share": share}),))
            for record, share in zip(records.default_records(), shares, strict=False)
        ]

    page = written(made(0.1, 0.2, 0.3, 0.4, 0.5), tmp_path).partition('id="findings"')[2].partition("</section>")[0]
    assert [part.count("% of the time in the kernel") for part in page.split('class="unprinted"')[:3]] == [3, 1, 1]
    assert re.findall(r'<p class="(\w+)">and (\d+) more', page) == [("paper", "2")]
    assert page.count("keeps it mapped") == 1, "the remedy was repeated with each number"
    alike = written(made(0.1, 0.1, 0.1), tmp_path).partition('id="findings"')[2].partition("</section>")[0]
    assert "Every case of this run." in alike and "<li>" not in alike and "more; results.csv" not in alike


def test_findings_of_trainings_are_counted_as_trainings(tmp_path):
    """The page of a run of 5 cases and 70 trainings said "unconverged, 45 cases"."""
    finding = Finding("graph_breaks", "note", {"reasons": ("a break",)})
    records_with = [replace(record, findings=(finding,)) for record in records.tried_records()]
    trainings = sum(record.case.trains for record in records_with)
    page = written(records_with, tmp_path).partition('id="findings"')[2].partition("</section>")[0]
    assert f"{len(records_with) - trainings} cases, {trainings} trainings" in page


def test_the_repeat_command_writes_beside_the_run(tmp_path):
    """Without --out, the command set another run of the suite aside."""
    page = written([records.record()], tmp_path)
    assert "Repeat the run: <code>convbench run suites/default.yaml --out {RUN}-again</code>" in " ".join(
        page.replace("\n", "").split()
    )


def test_a_single_case_is_not_called_tied(tmp_path):
    page = written([records.record()], tmp_path)
    assert ">tied<" not in page.partition('<table class="ranking">')[2].partition("</table>")[0]
    assert not re.search(r"ms( \(n=\d+\))? tied", page)
    assert "the grey band" not in page
    assert "each contender tied or told apart" not in page
    assert " tied" in written([records.record(records.case(name)) for name in ("gap", "gmp")], tmp_path)


def test_the_pick_is_labelled_as_well_as_tinted(default, tried_page):
    for text, word in ((default, "the pick"), (tried_page, "the best")):
        rows = re.findall(r'<tr class="pick">.*?</th>', text, re.S)
        named = [row for row in rows if f'<span class="hidden">{word}</span>' in row]
        assert named
        assert text.count(f">{word}</span>") == len(named)
    assert not [
        row for row in re.findall(r'<tr class="pick">.*?</th>', tried_page, re.S) if 'class="hidden"' not in row
    ]


@pytest.fixture(scope="module")
def tried_page(tmp_path_factory):
    return written(records.tried_records(), tmp_path_factory.mktemp("page"))


def test_the_ranking_names_the_picks_that_are_not_in_it(default, tried_page):
    """A task's pick with a LayerNorm or in a variant was named by the headline and missing from the table below it."""
    assert "Picked below, but unlike these: gmp, LSTM input 32, compile; spatial-softmax, LSTM input 64" in tried_page
    assert "Picked below" not in default


def test_the_quality_section_follows_the_ranking_if_quality_ran(default, tried_page, tmp_path):
    assert re.findall(r'<h2 id="([\w-]+)"', tried_page)[:4] == ["glance", "ranking", "quality", "trade-offs"]
    assert "Quality" not in re.findall(r"<h2[^>]*>([^<]+)", default)
    probed = written([records.record(), records.probed(0.9, 0.5)], tmp_path)
    assert 'id="quality-probes"' in probed
    assert "Test accuracy" not in probed


def test_trials_are_not_rows_of_the_cost_table(tried_page):
    data = json.loads(tried_page.partition('id="data">')[2].partition("</script>")[0])
    assert data["size"] == 13
    assert not {"learn", "probe"} & set(data["columns"]["scenario"]["v"])
    assert "13 of 13 cases" in tried_page


def test_the_quality_section_holds_all_facts_of_a_task():
    case_results = results(records.tried_records())
    identity, direction = section(case_results, recommend(case_results))["tasks"]
    best, *_, last = identity["rows"]
    assert (best["reducer"], best["lstm_input"], best["seeds"], best["rate"]) == ("gmp", "32", "5 of 5", "0.002")
    assert best["accuracy"] == "92.0 % [90.0, 94.0]"
    assert best["standing"] == "best"
    assert (last["reducer"], last["accuracy"], last["lost"], last["seeds"]) == ("flatten", "–", "5 collapsed", "0 of 5")
    assert [row["standing"] for row in direction["rows"][:3]] == ["best", "tied", ""]
    assert next(row["lost"] for row in direction["rows"] if row["reducer"] == "flatten") == "1 still learning"
    gmp = next(line for line in identity["grid"] if line["name"].startswith("gmp"))
    assert gmp["cells"] == [("82.0 %", False), ("92.0 %", True), ("82.0 %", False)]
    assert gmp["spread"] == "10.0"


def test_equal_budgets_cut_each_learning_curve():
    """fc does a quarter more work a step: it takes fewer steps at equal FLOPs, and as many at equal seconds."""
    run_records = [records.lesson(0.8, "identity", seed, of=records.case(*model))
             for model in (("gap",), ("fc", 8)) for seed in range(3)]  # fmt: skip
    (task,) = section(results(run_records), recommend(results(run_records)))["tasks"]
    rows = {row["reducer"]: row for row in task["rows"]}
    assert rows["gap"]["flops"] == rows["gap"]["accuracy"] == rows["fc"]["seconds"]
    assert float(rows["fc"]["flops"].split()[0]) < 80
    assert task["seconds"] == "14 s"


def test_controls_show_their_expected_and_measured_accuracy():
    shuffled, permuted = sorted(
        section(results(records.tried_records()), [])["controls"], key=lambda row: row["control"]
    )
    assert (shuffled["found"], shuffled["verdict"]) == ("30.0 % (3 seeds)", "as expected")
    assert shuffled["expected"] == "at most 50.0 %"
    assert (permuted["found"], permuted["verdict"]) == ("13.0 % (3 seeds)", "as expected")


def test_controls_of_several_lstms_and_clips_have_different_names():
    """Rows of two LSTMs, or of two clips, had the same name."""
    plain = records.case("gap")
    others = records.case("gap", parts={"rnn": Recurrent(hidden=64)}), replace(plain, clip=Clip(1, 8, 3, 32, 32))
    shuffled = [[records.lesson(0.3, of=of, control="frame-shuffle") for of in (plain, other)] for other in others]
    by_lstm, by_clip = (section(results([records.lesson(), *members]), [])["controls"] for members in shuffled)
    assert [row["name"].partition(" on ")[2] for row in by_lstm] == ["conv with lstm128", "conv with lstm64"]
    assert [row["task"] for row in by_clip] == ["direction on 1x16x3x64x64", "direction on 1x8x3x32x32"]


def test_a_reducer_without_a_result_has_no_filter_chip(tmp_path):
    """Each such reducer had a chip that hid and showed nothing."""
    run_records = [records.record(), records.record(records.case("fc", 64)), records.failed(records.case("gem"))]
    text = written(run_records, tmp_path)
    chips = re.findall(r'<button type="button" class="chip"[^>]*data-series="(\d)".*?</svg>\s*([\w-]+)', text, re.S)
    assert chips == [("0", "fc"), ("1", "gap")]


def test_figures_keep_their_colours_if_styles_are_forbidden(tmp_path):
    """Viewers of CI artefacts forbid styles and scripts: figures were black, and swatches as wide as the page."""
    text = written(records.default_records(), tmp_path)
    drawn = re.findall(r"<svg viewBox=.*?</svg>", text, re.S)
    assert len(drawn) == text.count("<figure") >= 11
    assert all(re.match(r'<svg viewBox="0 0 ([\d.]+) [\d.]+" width="\1">', figure) for figure in drawn)
    assert not [figure for figure in drawn if " style=" in figure]
    assert set(re.findall(r"var\(--\w+(,?#?)", "".join(drawn))) == {",#"}
    assert all(' fill="none"' in line for line in re.findall(r"<polyline[^>]*>", "".join(drawn)))
    signs = re.findall(r'<svg class="swatch"(.*?)</svg>', text, re.S)
    assert signs and all('width="13"' in sign and ' fill="#' in sign for sign in signs)


def test_figure_text_is_at_least_8_pixels_on_a_phone(tmp_path):
    """A figure wider than a phone's screen is drawn there at nine tenths of its size."""
    text = written(records.tried_records(), tmp_path)
    assert min(float(size) for size in re.findall(r'font-size="([\d.]+)px"', text)) >= 9


@pytest.mark.parametrize("name", ['a style="fill:#1c2128" b', 'a id="b" x="1.234567"'])
def test_a_name_that_resembles_an_attribute_is_unchanged_in_figures(tmp_path, name):
    assert f">{name} 32<" in written([records.record(records.case(name))], tmp_path)


def test_a_page_without_results_has_no_empty_parts(tmp_path):
    """The page had filters and hints for missing charts, and a fold with nothing in it."""
    text = written([records.failed(records.case()), records.failed(records.case("fc", 64))], tmp_path)
    assert "Nothing was measured" in text
    assert 'id="trade-offs"' not in text
    assert "What else this run says" not in text
    assert 'id="failures"' in text


@pytest.mark.parametrize(
    ("scenarios", "said"),
    [
        (("inference",), ""),
        (("streaming",), "A call: in streaming one frame, the state carried on."),
        (("inference", "train", "own"), "A call: in inference the whole clip; in train a training step: "),
    ],
)
def test_the_ranking_is_headed_by_what_a_call_is(scenarios, said, tmp_path):
    """401 µs of a frame stood beside 6.35 ms of a clip, both labelled "a call"."""
    run_records = [records.record(records.case(name, scenario=scenario), latency=1e-3)
                   for name in ("gap", "gmp") for scenario in scenarios]  # fmt: skip
    text = " ".join(written(run_records, tmp_path).split())
    assert f"All alike: conv, lstm128, clip 1x16x3x64x64, eager, {scenarios[0]}, cpu. {said}" in text
    assert ("A call: " in text) is bool(said)


def test_a_caption_does_not_repeat_its_heading():
    caption = "In fc it pays. How to read this: each line is a model."
    assert figure_of_page._caption(caption) == "In fc it pays. Each line is a model."
    assert figure_of_page._caption("How to read this: a mark is a case.") == "A mark is a case."


def test_every_figure_says_how_to_read_it(default):
    drawn = default.count("<figure")  # a new figure adds to convbench's eleven
    assert drawn == default.count("<figcaption") >= 11
    assert len(set(re.findall(r'<span id="([^"]+-how)">', default))) == drawn
    words = re.findall(r'(?:<span id="[^"]+-how">)+([A-Z][^<]+)', default)
    assert len(words) == len(set(words)), "figures with the same words share them"
    assert default.count("How to read this") == len(re.findall(r'<details class="reading">', default)) < drawn


@pytest.mark.parametrize(
    ("names", "spread", "words"),
    [
        (("gap",), 0.5, ("2.0× [1.7, 2.4]", "–")),
        (("gap",), 0.01, ("2.00× [1.99, 2.01]", "–")),
        (("gap", "gmp"), 0.01, ("1.91×", "1.82 to 2.0")),
        (("gap", "gmp"), 0.5, ("1.9×", "1.8 to 2.0")),
    ],
)
def test_a_variants_speedup_has_the_digits_of_its_interval(names, spread, words, tmp_path):
    """The table said 1.80× and "1.8 to 1.8" of a single case, where the sentence above it said 1.8× [1.0, 3.2]."""

    def timed(name, variant, seconds):
        samples = [seconds * (1 + spread * (number - 10) / 20) for number in range(21)]
        measured = records.record(records.case(name, variant=variant), samples=0)
        return replace(measured, readings=(records.reading("latency_s", *samples),))

    run_records = [timed(name, "eager", 2e-3) for name in names]
    run_records += [timed(name, "compile", 1e-3 * (1 + 0.1 * number)) for number, name in enumerate(names)]
    (row,) = view(records.run_of(run_records), results(run_records))["variants"]
    assert (row["speedup"], row["range"]) == words


def test_break_even_calls_are_shown_for_exported_models_too():
    """Only compiled models had a number of calls. A variant without a setup cost has none."""
    seconds = {"gap": (10e-3, 2e-3, 2e-3), "fc": (10e-3, 11e-3, 2e-3)}
    run_records = [
        records.record(records.case(name, 8, variant=how), latency=time)
        for name, times in seconds.items()
        for how, time in zip(("eager", "onnxruntime", "channels_last"), times, strict=True)
    ]
    export, load = Reading(metrics.EXPORT, (7.0,)), Reading(metrics.LOAD, (1.0,))
    made = [
        replace(r, readings=(*r.readings, export, load)) if "onnx" in r.case.variant_name else r for r in run_records
    ]
    rows = {row["variant"]: row for row in view(records.run_of(made), results(made))["variants"]}
    assert re.fullmatch(r"(9[5-9]\d|1,0[0-4]\d) calls", rows["onnxruntime"]["pays"])
    assert (rows["onnxruntime"]["never"], rows["channels_last"]["pays"]) == ("never for 1", "–")
    assert re.search(r"\| onnxruntime \| .* calls, never for 1 \|", summary.markdown(records.run_of(made), made))


def test_hostile_names_are_rendered_as_text(hostile):
    parsed = Parsed(hostile)
    assert not [values for tag, values in parsed.tags if tag == "img"]
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert any(HOSTILE in text for text in parsed.texts["code"])
    assert "49" not in "".join(parsed.texts["title"])


def test_hostile_names_survive_the_embedded_data_unchanged(hostile):
    data = json.loads(hostile.partition('id="data">')[2].partition("</script>")[0])
    assert data["name"] == HOSTILE
    assert HOSTILE in data["columns"]["reducer"]["v"]


def test_the_embedded_data_equals_the_table():
    run_records = records.default_records()
    data = payload(records.run_of(run_records), results(run_records))
    for index, record in enumerate(run_records):
        row = table.row_of(result(record))
        assert "/".join(data["words"][code] for code in data["ids"][index]) == row.pop("case")
        for name, value in row.items():
            column = data["columns"].get(name)
            cell = decode(column, index)
            assert cell == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), name


def decode(column, index):
    if column is None or isinstance(column, list):
        return column and column[index]
    return column["v"][column["c"][index] if "c" in column else 0]


def test_the_data_is_json_without_nan():
    run_records = [replace(records.record(samples=2), readings=(records.reading("params", float("nan")),))]
    data = payload(records.run_of(run_records), results(run_records))
    assert data["columns"]["params"] == {"v": [None]}
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize("run_records", [
    [], [records.lesson(0.5)], [records.probed(0.5, 0.5)], [records.failed(records.lesson().case)],
    [records.failed(records.case())], [records.record(samples=0)], [records.record(samples=1)],
    [records.record(Case(Whole(Choice("a.b:c"))))], [records.record(records.case(device="cuda:0"))],
], ids=["empty", "lesson", "probe", "failed lesson", "failed", "static", "one sample", "whole", "cuda"])  # fmt: skip
def test_any_run_has_a_page(run_records, tmp_path):
    assert "</html>" in written(run_records, tmp_path)


def repeated(run, quoted: str) -> str:
    """Return the command that repeats the first case, joined as the page's script does, which quotes the case's id."""
    parts = payload(run, [])["repeat"]
    return f"{parts['before']}{quoted}{parts['between']}1{parts['after']}"


def test_repeating_a_case_writes_beside_the_run():
    expected = "convbench run suites/default.yaml --only conv/gap/32 --out reports/again/default-1"
    assert repeated(records.run_of([]), "conv/gap/32") == expected


def test_a_case_of_an_api_run_is_repeated_through_it():
    run = records.run_of([], command="convbench.run('mine.yaml')", name='"; rm -rf /')
    assert repeated(run, '"gap"') == """convbench.run('mine.yaml', only=["gap"], out="reports/again/rm-rf-1")"""


def test_an_unmeasured_metric_has_no_column():
    static = results([records.record(samples=0)])
    keys = [column.key for column in columns(static)]
    assert "params" in keys
    assert not {"latency", "interval", "factor"} & set(keys)
    assert "latency" in [column.key for column in columns(results([records.record()]))]


def test_an_unwritable_path_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/index\.html: cannot be written .*choose another place"):
        page.write(records.run_of([]), [], tmp_path / "file" / "index.html")


def test_figures_of_other_plug_ins_have_a_section(tmp_path, monkeypatch):
    from convbench.core.registry import Plugin, figures

    case_results = results([records.record()])
    own = Plugin("own-figure", lambda _: figures.get("trade-off").build(case_results), "", {})
    list(figures)
    monkeypatch.setitem(figures._plugins, "own-figure", own)
    text = written([records.record()], tmp_path)
    assert "<h2>Own figure</h2>" in text


def compared(tmp_path, *runs):
    return compare.write(
        [(records.run_of(run_records, **more), run_records) for run_records, more in runs], tmp_path / "c.html"
    ).read_text()


def test_comparing_a_run_with_itself_shows_no_warning(tmp_path):
    run_records = records.default_records()
    text = compared(tmp_path, (run_records, {}), (run_records, {}))
    assert (
        "<h1>No case differs by more than 10 % beyond noise. B takes 1.00× the time of A (median of 67 shared cases; "
        "nine in ten at 1.00 to 1.00×).</h1>" in text
    )
    assert 'class="banner"' not in text
    assert "What differs" not in text


def test_a_few_slow_cases_are_listed_without_moving_the_headline(tmp_path):
    run_records = records.default_records()
    spoilt = [
        records.record(record.case, latency=0.3) if 9 <= i < 16 else record for i, record in enumerate(run_records)
    ]
    text = compared(tmp_path, (run_records, {}), (spoilt, {}))
    assert "B takes 1.00× the time of A (median of 67 shared cases" in text
    assert "7 cases differ by more than 10 % beyond noise, listed first below." in text
    names = [record.case.axes["reducer"] for record in run_records[9:16]]
    rows = re.findall(r"<tbody>(.*?)</tbody>", text, re.S)[-1].split("<tr>")[1:8]
    assert all(any(name in row for name in names) for row in rows)


def test_a_factor_refers_to_the_fastest_comparable_case():
    case_results = results(records.default_records())
    against = references(case_results)
    assert [index is None for index in against] == [case_result.latency is None for case_result in case_results]
    for case_result, index in zip(case_results, against, strict=True):
        alike = [other.latency for other in case_results if other.latency and likeness(other) == likeness(case_result)]
        assert index is None or (likeness(case_results[index]), case_results[index].latency) == (
            likeness(case_result), min(alike),
        )  # fmt: skip
    assert len({index for index in against if index is not None}) == 7


def visited_case(name, seconds):
    """Return a record with a visit for each of these seconds."""
    record = records.record(records.case(name))
    readings = [reading for reading in record.readings if reading.metric.name != metrics.LATENCY.name]
    latency = Reading(metrics.LATENCY, seconds, (1,) * len(seconds))
    return replace(record, readings=(*readings, latency), visits=tuple(map(Visit, range(len(seconds)))))


def test_a_rows_factor_equals_the_rankings():
    """The row had a ratio of two medians, beside the ranking's ratio of paired visits."""
    times = {"gap": (1e-3, 2e-3, 1e-3), "flatten": (2e-3, 6e-3, 3.5e-3)}
    run_records = [visited_case(name, seconds) for name, seconds in times.items()]
    case_results = results(run_records)
    ratio = headline_of(case_results).ranking[1].factor.median
    assert ratio != pytest.approx(case_results[1].latency.median / case_results[0].latency.median)
    assert entries(case_results)[1].factor.median == ratio
    out = io.StringIO()
    Console(file=out, width=160, color_system=None).print(ResultTable(run_records))
    assert f" {units.factor(ratio)} " in out.getvalue()


def test_different_environments_give_a_warning(tmp_path):
    run_records = [records.record()]
    text = compared(
        tmp_path, (run_records, {}), (run_records, {"environment": {**records.ENVIRONMENT, "torch": "2.6.0"}})
    )
    assert "not made under the same conditions: PyTorch differ" in text
    assert text.index("Careful.") < text.index("<main>")


def test_a_comparison_corrects_for_the_machine_and_reports_agreement(tmp_path):
    def run(scale, reference):
        return [
            replace(record, readings=(*record.readings, records.reading("reference_s", *[reference] * 5)))
            for record in (
                records.record(records.case("fc", size), latency=1e-5 * size * scale) for size in (32, 64, 128)
            )
        ]

    text = compared(tmp_path, (run(1.0, 1e-3), {}), (run(1.5, 1.5e-3), {}))
    assert "The machine itself took 1.50× as long for the reference workload in B" in text
    assert "corrected for that, B takes 1.00× the time of A" in text
    assert "The 95 % intervals of A and B overlap in 0 of 3 cases; of 3 orders that A is sure of, none is reve" in text
    assert text.count('<span class="tag slower">slower</span>') == 3
    assert text.count('<td class="wide">fc, LSTM input 32, ') == 2


def test_ratios_beyond_a_tie_are_bold_in_comparison_tables(tmp_path):
    first = {"fc": 2e-3, "gap": 2e-3, "gmp": 2e-3}
    second = {"fc": 2.1e-3, "gap": 2.5e-3, "gmp": 1.6e-3}
    runs = [[records.record(records.case(name, 64), latency=time) for name, time in run.items()]
            for run in (first, second)]  # fmt: skip
    text = compared(tmp_path, *((run, {}) for run in runs))
    (rows,) = re.findall(r'id="by-reducer".*?<tbody>(.*?)</tbody>', text, re.S)
    bold = {row.partition('<th scope="row">')[2].partition("<")[0]: "beyond" in row for row in rows.split("<tr>")[1:]}
    assert bold == {"fc": False, "gap": True, "gmp": True}


def test_rows_of_a_comparison_name_the_head_and_the_device_that_tell_cases_apart(tmp_path):
    case = records.case("gap")
    cases = [case, replace(case, architecture=replace(case.architecture, head=10)), replace(case, device="cuda:0")]
    run_records = [records.record(case) for case in cases]
    text = compared(tmp_path, (run_records, {}), (run_records, {}))
    assert set(re.findall(r"<td>([^<]*)</td>", text.partition('id="cases"')[2])) == {"cpu", "head of 10 cpu", "cuda:0"}
    assert ">Head, device</button>" in text
    assert "All alike: conv, lstm128, 1x16x3x64x64, inference." in text
    one = compared(tmp_path, (run_records[:1], {}), (run_records[:1], {}))
    assert "All alike: conv, lstm128, 1x16x3x64x64, inference, cpu." in one
    assert "<td>" not in one.partition('id="cases"')[2], "a column that says the same of every case"


def test_a_comparison_holds_every_shared_case_in_base_units(tmp_path):
    run_records = records.default_records()
    text = compared(tmp_path, (run_records, {}), (run_records, {}), (run_records[:5], {}))
    packed = re.search(r'<script type="[a-z/]+" id="data">([^<]+)</script>', text)[1]
    data = json.loads(packed if packed.startswith("{") else zlib.decompress(base64.b64decode(packed)))["compared"]
    assert len(data["lines"]) == 67
    assert {len(line) for line in data["lines"]} == {len(data["names"])} == {1 + 6 + 2 * 9}
    rows = [dict(zip(data["names"], line, strict=True)) for line in data["lines"]]
    assert all(row["B_over_A_median"] == 1 and row["A_params"] == row["B_params"] for row in rows)
    assert sum(row["C_over_A_median"] is not None for row in rows) == 5


def test_a_comparison_names_the_variant_of_each_pick(tmp_path):
    """2 ms of a compiled model stood below 6 ms of an eager one without a word, because eager had failed there."""
    cases = [records.case("gap", variant=how) for how in ("eager", "compile")]
    text = compared(tmp_path, ([records.record(cases[0])], {}), ([records.record(of) for of in cases[1:]], {}))
    assert re.findall(r"<td[^>]*>gap, LSTM input 32, (\w+), ", text) == ["eager", "compile"]


def test_runs_without_a_shared_case_are_reported(tmp_path):
    text = compared(tmp_path, ([records.record()], {}), ([records.record(records.case("gmp"))], {}))
    assert "B shares no timed case with A." in text


def test_many_runs_share_a_headline_and_columns_need_ratios(tmp_path):
    """Six runs were headed by 14 sentences, beginning with "B shares no timed case with A"."""

    def of(names, scale=1.0):
        return [records.record(records.case(name, 64), latency=2e-3 * scale) for name in names]

    larger = {"environment": {**records.ENVIRONMENT, "memory_bytes": 64 * 2**30}}
    runs = [(of(["fc", "gap"]), {}), (of(["gem"]), {}), (of(["fc", "gap"], 1.2), {}), (of(["gem"]), larger)]
    text = compared(tmp_path, *runs, (of(["fc", "gap"], 0.5), {}))
    head = text.partition("<main>")[0].partition("<h1>")[2]
    assert head.startswith("C takes 1.20× and E 0.500× the time of A; B and D have no ratio over it. Cases that ")
    assert "<li>" not in head.partition("<details")[0]
    assert "B shares no timed case with A." in head.partition("<details")[2]
    (by_reducer,) = re.findall(r'id="by-reducer".*?</table>', text, re.S)
    assert re.findall(r"<th[^>]*>([^<]+)</th>", by_reducer) == ["Reducer", "Cases", "C over A", "E over A", "fc", "gap"]
    (compared_table,) = re.findall(r'<table id="compared".*?</table>', text, re.S)
    heads = re.findall(r"<button[^>]*>([^<]+)</button>", compared_table.partition("</thead>")[0])
    assert [head for head in heads if "over" in head] == ["C over A", "E over A"]
    assert {row.count("<td") + 1 for row in compared_table.partition("<tbody>")[2].split("<tr>")[1:]} == {len(heads)}
    assert '<th scope="row">Memory <span class="tag warn">matters' in text
    assert '<td class="wide">64.0 GiB</td>' in text


def test_many_runs_are_headed_by_their_extreme_ratios(tmp_path):
    runs = [([records.record(records.case("fc", 64), latency=1e-3 * factor)], {}) for factor in range(1, 10)]
    text = compared(tmp_path, *runs)
    assert "<h1>8 runs take 2.0× to 9.0× the time of A. Cases that differ by" in text
    assert "beyond noise: in 8 of them.</h1>" in text
    alike = compared(tmp_path, *runs[:1] * 3)
    assert "<h1>B takes 1.00× and C 1.00× the time of A. No case differs by more than" in alike
    assert "<h1>No run has a ratio over A.</h1>" in compared(tmp_path, *([([], {})] * 3))


@pytest.mark.parametrize(
    ("folders", "cells"), [(("x/old", "x/new"), ("old", "new")), (("x/run", "y/run"), ("x/run", "y/run"))]
)
def test_runs_side_by_side_are_named_by_their_folders(tmp_path, folders, cells):
    """Two runs of one suite were told apart only by the minute in which they began."""
    run_records = [records.record()]
    runs = [(records.run_of(run_records), run_records)] * 2
    text = compare.write(runs, tmp_path / "c.html", [Path(folder) for folder in folders]).read_text()
    for letter, cell in zip("AB", cells, strict=True):
        assert f'<th scope="row">{letter}</th><td class="wide">{cell}</td>' in text


def test_comparing_hostile_runs_is_safe(tmp_path):
    run_records = hostile_records()
    more = {"name": HOSTILE, "environment": {HOSTILE: HOSTILE}}
    text = compared(tmp_path, (run_records, more), (run_records, {}), (run_records, more))
    assert not [tag for tag, _ in Parsed(text).tags if tag == "img"]


def test_one_run_cannot_be_compared(tmp_path):
    with pytest.raises(ConvbenchError, match="2 to 26 runs side by side, not 1"):
        compared(tmp_path, ([], {}))


def visited(*samples, disturbed=""):
    """Return a record of several visits, the last of them disturbed if a reason is given."""
    rounds = [
        Visit(number, disturbed=disturbed if number == len(samples) - 1 else "") for number in range(len(samples))
    ]
    times = Reading(Metric("latency_s", "s"), tuple(chain(*samples)), tuple(map(len, samples)))
    return replace(records.record(), readings=(times,), visits=tuple(rounds))


def test_samples_are_encoded_as_heights_by_visit():
    first, second = [i * 1e-3 for i in range(1, 25)], [12.5e-3] * 10
    chart = distribution(visited(first, second, disturbed="other processes had the core"))
    assert chart["ends"] == [1e-3, 24e-3]
    (n, median, heights, quiet), (few, at, peak, reason) = chart["visits"]
    assert (n, median, quiet) == (24, 12.5e-3, "")
    assert set(heights) == {"Z"}
    assert (few, at, reason) == (10, 12.5e-3, "other processes had the core")
    assert peak == "0" * 12 + "Z" + "0" * 11
    assert distribution(visited([1e-3] * 4)) is None
    assert distribution(records.record(samples=0)) is None


@pytest.mark.parametrize(("samples", "pattern"), [
    (0, None), (20, "p90 not claimable from 20 samples, p99 not claimable from 20 samples"),
    (100, r"p90 [\d.]+ ms \(at most [\d.]+ ms\), p99 not claimable from 100 samples"),
    (2000, r"p90 [\d.]+ ms \(at most [\d.]+ ms\), p99 [\d.]+ ms \(at most [\d.]+ ms\)"),
])  # fmt: skip
def test_a_percentile_is_given_only_with_enough_samples(samples, pattern):
    (result,) = results([records.record(samples=samples)])
    assert percentiles(result) is None if pattern is None else re.fullmatch(pattern, percentiles(result))


def test_large_data_is_compressed_and_restored_completely(tmp_path):
    run_records = records.many(1500)
    text = written(run_records, tmp_path)
    packed = re.search(r'<script type="text/plain" id="data">([^<]+)</script>', text)[1]
    data = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert data["size"] == 1500
    assert len(text) < 700_000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ([1e-3, 4e-3, 2e-3, 3e-3], "median 2.50 ms (4 calls)"),
        ([2e-3], "median 2.00 ms (1 call)"),
        ([1e-3, 1e-3, 10e-3], "median 1.00 ms, mean 4.00 ms (3 calls)"),
    ],
)
def test_a_profile_gives_the_mean_if_slow_calls_raise_it(seconds, words):
    assert profile_section._calls({"step_s": seconds, "steps": len(seconds)}) == words


@pytest.mark.parametrize("threads", [None, 2])
@pytest.mark.parametrize("variant", ["eager", "channels_last+compile(rnn=true)"])
def test_a_profile_is_named_by_its_variant(threads, variant):
    of = replace(records.case("gap", variant=variant), threads=threads)
    assert profile_section._variant(of.id, of.eager.id) == variant


def test_impossible_combinations_are_listed_with_their_reason(tmp_path):
    name, reason = "conv/gap/32/lstm128/1x16x3x64x64/onnxruntime/train/cpu", "variant onnxruntime cannot be used"
    page = written([records.record()], tmp_path, impossible={name: reason})
    section = page.partition('id="failures"')[2].partition("</section>")[0]
    assert "no such combination exists (1)" in section and name in section and reason in section
