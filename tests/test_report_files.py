"""Figures as files, and the summary for a pull request."""

import html
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import records
from matplotlib.figure import Figure
from typer.testing import CliRunner

import convbench
from convbench.analysis.table import write_csv
from convbench.cli.app import app
from convbench.cli.report import conclude
from convbench.core import installed
from convbench.core.errors import ConvbenchError, StoreError
from convbench.core.record import Case, Choice, Failure, Recurrent
from convbench.core.registry import Plugin, figures
from convbench.core.storage import store
from convbench.core.system.files import destination, path_of, write
from convbench.core.text import file_stem
from convbench.report.drawing import Drawing
from convbench.report.export import figure_files, latex, summary
from convbench.report.page.run import write as write_page

SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
HOSTILE = "</details><script>x</script> @someone |cell| [a](b) `tick` \n# head\x00"


def only(monkeypatch, *names):
    """Keep only these figures: drawing all of them takes seconds."""
    monkeypatch.setattr(figures, "_plugins", {name: figures.get(name) for name in names})


@pytest.mark.parametrize("kind", figure_files.FORMATS)
def test_every_figure_is_written_with_reproducible_bytes(kind, tmp_path, monkeypatch):
    run_records = [records.record(records.case(name, size)) for name, size in (("gap", None), ("fc", 8), ("fc", 32))]
    first = figure_files.write(records.run_of(run_records), run_records, tmp_path / "first", kind)
    assert {"default-by-size-latency", "default-trade-off-latency-params", "default-stages-params"} <= {
        p.stem for p in first
    }
    assert all(path.read_bytes().startswith(SIGNATURES[kind]) for path in first)
    only(monkeypatch, "by-size", "stages")
    again = figure_files.write(records.run_of(run_records), run_records, tmp_path / "again", kind)
    assert len(again) > 1
    for path in again:
        assert path.read_bytes() == (tmp_path / "first" / path.name).read_bytes()


def test_a_figure_file_labels_its_marks(tmp_path, monkeypatch):
    only(monkeypatch, "trade-off")
    run_records = [records.record(records.case("gap")), records.record(records.case("gdconv"))]
    path = figure_files.write(records.run_of(run_records), run_records, tmp_path, "svg")[0]
    assert ">gdconv<" in path.read_text()


def test_figures_with_one_name_become_separate_files(tmp_path, monkeypatch):
    """The second file overwrote the first, and a slash in a name made a folder."""

    def twins(_results):
        for name in ("twin", "twin", "a b/c", "runtimes-cuda:1"):
            yield Drawing(name, "Twin", "A twin.", Figure())

    monkeypatch.setattr(figures, "_plugins", {"twins": Plugin("twins", twins, "", {})})
    paths = figure_files.write(records.run_of([]), [], tmp_path, "svg")
    assert [path.stem.removeprefix("default-") for path in paths] == ["twin", "twin-2", "a-b-c", "runtimes-cuda-1"]
    assert {path.name for path in paths} == {path.name for path in tmp_path.iterdir()}


def test_unknown_formats_and_unwritable_places_are_reported(tmp_path):
    with pytest.raises(ConvbenchError, match="unknown figure format 'bmp'; known: png, svg, pdf"):
        figure_files.write(records.run_of([]), [], tmp_path, "bmp")
    (tmp_path / "file").write_text("")
    measured = records.default_records()
    with pytest.raises(StoreError, match=r"file/.*\.png: cannot be written .*choose another place"):
        figure_files.write(records.run_of(measured), measured, tmp_path / "file", "png")


@pytest.mark.parametrize("name", ["index.html", "results.csv"])
def test_an_unwritable_page_or_table_error_says_results_are_stored(tmp_path, name, capsys):
    """It said "choose another place", as if everything had to be measured again, and the answer was not printed."""
    measured = records.default_records()
    store.start(tmp_path, records.run_of(measured), measured)
    (tmp_path / name).mkdir()
    with pytest.raises(StoreError, match=r"all results are stored: convbench report .* --out"):
        write_csv(tmp_path, measured) if name == store.CSV else conclude(tmp_path, show=True)
    assert ("Read with care" in capsys.readouterr().out) == (name == "index.html")


@pytest.mark.parametrize("options", [(), ("--format", "md")])
def test_a_report_may_be_written_to_a_device(tmp_path, options):
    """/dev/stdout was a folder that "cannot be written (File exists)"; there, nothing follows the report."""
    measured = records.default_records()
    store.start(tmp_path, records.run_of(measured), measured)
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--out", os.devnull, *options])
    assert (done.exit_code, done.output) == (0, "")


def _raises(results):
    raise ValueError("shape mismatch")


def _draws_text(results):
    return ["a drawing"]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (_raises, r"ValueError: shape mismatch \(test_report_files.py:\d+\)"),
        (_draws_text, "TypeError: it draws str, not a convbench.report.drawing.Drawing"),
    ],
)
def test_a_failing_plug_in_figure_does_not_prevent_the_page(build, said, tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "_missing_plugins", {})
    monkeypatch.setitem(figures._plugins, "mine", Plugin("mine", build, "", {}))
    run_records = records.default_records()
    store.start(tmp_path, records.run_of(run_records), run_records)
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 0
    assert re.search(rf"plug-ins of {__name__} are missing: the figure 'mine' raised {said}", done.stderr)
    page = html.unescape((tmp_path / "index.html").read_text())
    assert re.search(rf"the figure 'mine' raised {said}", page) and "All cases" in page


@pytest.mark.parametrize("name", ["../../etc/passwd", "con:\\x", "\n", "ü" * 300, ""])
def test_a_runs_name_never_escapes_the_directory(name):
    assert re.fullmatch(r"[\w-]{0,40}", file_stem(name), re.ASCII)


def test_the_summary_contains_answer_tables_and_failures():
    run_records = records.default_records()
    text = summary.markdown(records.run_of(run_records), run_records)
    assert text.startswith(
        "## convbench: default\n\n**Take hybrid(activation=true), LSTM input 8, eager on the conv backbone: "
    )
    assert re.search(r"\n\n\| Reducer \| .+ \|\n\|(---\|){7}\n\| ", text), "without a rule it is no table"
    assert "\n| flatten | 131,072 | eager | " in text
    assert "\n| compile | inference, cpu | 12 | " in text
    assert "<details><summary>2 without a result</summary>" in text
    assert all(line.count(" | ") in (0, 5, 6) for line in text.splitlines() if line.startswith("| "))


def test_the_summary_contains_the_quality_of_each_task():
    run_records = records.tried_records()
    text = summary.markdown(records.run_of(run_records), run_records)
    assert "### Quality: identity" in text
    assert "\n| gmp | 32 | 92.0 % \\[90.0, 94.0\\] | 5 of 5 |  |" in text
    assert "\n| flatten | 131,072 | – | 0 of 5 | 5 collapsed |" in text


@pytest.mark.parametrize(("cells", "all_cells"), [(["gru"], "GRU"), (["lstm", "gru"], "RNN"), (["lstm"], "LSTM")])
def test_every_table_names_the_cell_whose_input_size_it_shows(cells, all_cells, tmp_path):
    """The tables of a run of GRUs were headed "LSTM input". The ranking has the pick's cell alone."""
    cases = [records.case("fc", 64, parts={"rnn": Recurrent(cell)}) for cell in cells]
    makers = (records.record, lambda of: records.lesson(of=of), lambda of: records.probed(0.9, 0.4, of=of))
    run_records = [make(of) for of in cases for make in makers]
    run = records.run_of(run_records)
    page = write_page(run, run_records, tmp_path / "index.html").read_text()
    texts = (page, summary.markdown(run, run_records), latex.latex(run, run_records))
    heads = [re.findall(r"(?:>|\| |& )(\w+) input(?:<| \|| &)", text) for text in texts]
    ranked = cells[0].upper()
    assert heads == [[ranked, *[all_cells] * 3], [ranked, all_cells], [all_cells] * 2]


def test_the_latex_tables_have_accuracy_beside_cost_for_each_task_and_all_cases():
    """Whoever wrote a paper had the costs from the page's table, by hand, and no accuracies."""
    run_records = records.tried_records()
    run = replace(records.run_of(run_records), name="50%_a&b", command="convbench run x\n\\end{table}")
    heading, *tables = latex.latex(run, run_records).split("\n\n")
    assert [line[:2] for line in heading.splitlines()] == ["% ", "% "]
    tasks = {lesson.case.trial.task.name for lesson in run_records if lesson.case.trains}
    assert len(tables) == len(tasks) + 1
    identity = next(table for table in tables if "{identity. Test accuracy" in table)
    assert "\n\\begin{tabular}{lrrrrrrr}\n" in identity
    rows = identity.split("\\midrule\n")[1].split("\n\\bottomrule")[0].splitlines()
    assert re.fullmatch(r"gmp & 32 & 92\.0 \\% \[90\.0, 94\.0\] & 5 of 5 & .+ \[.+\] & 83\.8 k & .+", rows[0])
    assert re.fullmatch(r"flatten & 131,072 & -- & 0 of 5 & .+ \[.+\] & 67\.2 M & .+ & .+", rows[-1])
    assert {row.count(" & ") for row in rows} == {7}
    assert all(table.count("{") == table.count("}") for table in tables)


def test_no_text_of_a_run_is_a_command_of_latex(tmp_path):
    case = records.case("x_1&y#2$", 32)
    directory = records.stored(tmp_path / "run", [records.record(case)], name="tex")
    done = CliRunner().invoke(app, ["report", str(directory), "--format", "tex"])
    assert (done.exit_code, done.stderr) == (0, "")
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("x"))
    assert row.startswith(r"x\_1\&y\#2\$ & 32 & ")
    place = CliRunner().invoke(app, ["report", str(directory), "--format", "tex", "--out", str(tmp_path)]).stdout
    assert Path(place.strip()) == tmp_path / "tables.tex"
    assert Path(place.strip()).read_text() == done.stdout


def test_the_summary_stays_within_its_size_limit():
    run_records = [replace(record, failure=Failure("error", "x" * 5_000)) for record in map(records.failed, many(400))]
    assert len(summary.markdown(records.run_of(run_records, name="n" * 10**5), run_records)) <= summary.BUDGET


def test_a_long_summary_is_cut_between_rows_and_says_what_is_left_out(monkeypatch):
    """It was cut at a character, in the middle of a row or of the list that the page folds."""
    run_records = [*records.tried_records(), *map(records.failed, many(60))]
    run = records.run_of(run_records)
    values = summary.view(run, summary.results_of(run_records))  # once: it takes a third of a second
    monkeypatch.setattr(summary, "view", lambda *_: values)
    lines = summary.markdown(run, run_records).splitlines()
    assert lines[-5:-2] == ["- and 11 more", "", "</details>"]
    texts = {budget: summary.markdown(run, run_records, budget) for budget in range(1_500, 40_000, 500)}
    assert len(set(texts.values())) > 10
    for budget, text in texts.items():
        assert len(text) <= budget
        cut_lines = text.splitlines()
        assert cut_lines[-1] == lines[-1], "the machine is always named"
        assert text.count("<details>") == text.count("</details>")
        assert [line for line in cut_lines if line.startswith(("|", "- ")) and line not in lines] == []
        left_out = [line for line in cut_lines if line.startswith("Left out, as a summary has at most")]
        assert len(left_out) == (len(cut_lines) < len(lines))
        for count in re.findall(r"([0-9]+) cases? of those without", text):
            assert sum(line.startswith("- conv/n") for line in cut_lines) + int(count) == 50
    assert "cases of those without a result." in texts[12_000]


def many(n):
    return [Case(records.parts(Choice("n" * 3_000 + str(i)), 8)) for i in range(n)]


def test_hostile_names_are_escaped_in_the_summary():
    run_records = [
        records.record(Case(records.parts(Choice(HOSTILE), 8)), latency=1e-3),
        records.failed(records.case(), HOSTILE),
    ]
    text = summary.markdown(records.run_of(run_records, name=HOSTILE), run_records)
    assert "<script" not in text
    assert "@someone" not in text
    assert text.count("</details>") == 1
    assert "|cell|" not in text
    assert not re.search(r"(?<!\\)`|\[a\]", text)
    assert "\n# head" not in text


def test_an_output_path_is_a_file_if_its_extension_matches(tmp_path):
    page = tmp_path / "mine.html"
    assert destination(tmp_path / "new", "compare.html") == tmp_path / "new" / "compare.html"
    assert destination(tmp_path, "compare.html") == tmp_path / "compare.html"
    assert destination(page, "compare.html") == page
    page.mkdir()
    assert destination(page, "compare.html") == page / "compare.html"
    assert destination(tmp_path / "v1.2", "summary.md") == tmp_path / "v1.2" / "summary.md"


def test_a_rewritten_file_keeps_its_permissions(tmp_path):
    place = tmp_path / "run.json"
    place.write_text("old")
    for mode in (0o640, 0o606):
        place.chmod(mode)
        write(place, "new")
        assert (place.stat().st_mode & 0o7777, place.read_text()) == (mode, "new")


def test_a_tilde_means_the_home_directory(monkeypatch, tmp_path):
    """A shell does not expand the tilde in ``--out=~/runs``, so a folder named ``~`` was made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_of("out", "~/runs") == tmp_path / "runs"
    assert path_of("out", "./~") == Path("~")


@pytest.mark.parametrize(("arguments", "place", "runs"), [
    (["--out", "new"], "new/index.html", 1), (["--out", "new"], "new/compare.html", 2),
    (["--out", "two.html"], "two.html", 2), (["--format", "md", "--out", "new"], "new/summary.md", 2),
    (["--format", "md", "--out", "mine.md"], "mine.md", 1),
])  # fmt: skip
def test_report_writes_to_the_given_place_and_prints_it(arguments, place, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_records = [records.record()]
    for name in "ab":
        store.start(tmp_path / name, records.run_of(run_records), run_records)
    done = CliRunner().invoke(app, ["report", *"ab"[:runs], *arguments])
    assert (done.exit_code, done.stdout.strip()) == (0, place)
    start = (tmp_path / place).read_text("utf-8").lower()[:15]
    assert start == ("<!doctype html>" if place.endswith("html") else "## convbench: d")


@pytest.mark.parametrize("options", [[], ["--open"]])
def test_the_browser_opens_the_page_only_if_asked(options, tmp_path, monkeypatch):
    addresses = []
    monkeypatch.setattr("webbrowser.open", addresses.append)
    monkeypatch.chdir(records.stored(tmp_path / "a run", [records.record()]).parent)
    done = CliRunner().invoke(app, ["report", "a run", *options])
    assert done.exit_code == 0
    assert addresses == [(tmp_path / "a run" / "index.html").as_uri()] * len(options)


def test_figures_of_equally_named_runs_stay_beside_their_run(tmp_path, in_process, monkeypatch):
    only(monkeypatch, "by-size", "stages")
    for name in "ab":
        run_records = [records.record(latency=1e-3 if name == "a" else 2e-3)]
        store.start(tmp_path / name, records.run_of(run_records), run_records)
    done = in_process("report", "a", "b", "--format", "svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = [tmp_path / line for line in done.stdout.splitlines()]
    assert len(set(written)) == len(written)
    assert all(path.is_file() for path in written)
    assert [path.parent for path in written] == sorted(path.parent for path in written)
    assert {path.parent for path in written} == {tmp_path / "a" / "figures", tmp_path / "b" / "figures"}


@pytest.mark.parametrize(("arguments", "message"), [
    (["a", "b", "--format", "svg", "--out", "figures"], "--out can hold one run's figures only"),
    (["a", "--format", "svg", "--out", "fig.svg"], "--out fig.svg: a run has more than one figure: name a directory"),
    (["a", "--format", "md", "--open"], "--open shows the page of --format html; --format md has none"),
])  # fmt: skip
def test_impossible_report_options_are_refused_without_writing_anything(arguments, message, tmp_path, in_process):
    for name in "ab":
        store.start(tmp_path / name, records.run_of([records.record()]), [records.record()])
    before = sorted(tmp_path.rglob("*"))
    done = in_process("report", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_page_elsewhere_does_not_change_the_run(tmp_path, in_process):
    """The run's folder may be read-only, or somebody else's."""
    store.start(tmp_path / "a", records.run_of([records.record()]), [records.record()])
    before = sorted(tmp_path.rglob("*"))
    done = in_process("report", "a", "--out", "page.html", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "page.html\n"), done.stderr
    assert sorted(tmp_path.rglob("*")) == [*before, tmp_path / "page.html"]


def test_a_page_elsewhere_has_the_profiles_of_its_run(tmp_path, in_process):
    """The page showed the profiles of the folder that it was written to: another run's, or none."""
    run_records = [records.record()]
    for name in ("a", "b"):
        records.stored(tmp_path / name, run_records)
        place = tmp_path / name / "profiles" / name
        place.mkdir(parents=True)
        (place / "cpu.1.pt.trace.json.gz").touch()
        case = f"{name}/gap/eager/inference/cpu"
        operator = {"name": "aten::lstm", "stage": "lstm", "phase": "forward", "calls": 1, "self_s": 1e-3,
                    "total_s": 1e-3, "device_s": 0, "self_bytes": 0}  # fmt: skip
        memory = {"peak_bytes": 2**20, "at_peak": [], "timeline": [(0, 2**20), (1e-3, 0)]}
        taken = {"case": case, "eager": case, "trace": "", "steps": 1, "step_s": [1e-3], "operators": [operator]}
        (place / "profile.json").write_text(json.dumps({**taken, "memory": memory}))
    done = in_process("report", "a", "--out", "b/page.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    by_api = convbench.open_run(tmp_path / "a").report(tmp_path / "c")
    for page in (tmp_path / "b" / "page.html", by_api):
        shown = re.findall(r"<h3><code>(\w)/gap/eager/inference/cpu</code></h3>", page.read_text("utf-8"))
        assert shown == ["a"]


def test_a_summary_describes_its_machine_in_words():
    """It used to read "2 · 2 · glibc · PASSIVE · 0 · highest · no"."""
    run_records = [records.record()]
    run = records.run_of(run_records, environment={**records.ENVIRONMENT, "OMP_WAIT_POLICY": "PASSIVE", "dirty": False})
    *_, last = summary.markdown(run, run_records).splitlines()
    place = "AMD EPYC 7B13 · 2 cores · torch 2.13.0+cpu · python 3.11.7 · glibc · 2026-11-22 12:00 UTC"
    assert last == f"<sub>{place}</sub>"


def test_naming_a_run_twice_gives_a_note(tmp_path, in_process):
    records.stored(tmp_path / "a", [records.record()])
    done = in_process("report", "a", "a", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "convbench: a run is named twice, so it appears twice\n")
    done = in_process("claims", "a", "a", "--out", "claims", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "convbench: a run is named twice, which adds nothing\n")
