"""Figures as files and the summary for a pull request."""

import re
from dataclasses import replace

import pytest
import records

from convbench.core.errors import ConvbenchError, StoreError
from convbench.core.record import Case, Choice, Failure
from convbench.report.export import files

SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
HOSTILE = "</details><script>x</script> @someone |cell| [a](b) `tick` \n# head\x00"


@pytest.mark.parametrize("kind", files.FORMATS)
def test_every_figure_is_written_and_repeats_its_bytes(kind, tmp_path):
    found = [records.record(records.case(name, size)) for name, size in (("gap", None), ("fc", 8), ("fc", 32))]
    first, again = (files.write_figures(records.run_of(found), found, tmp_path / name, kind) for name in "ab")
    assert {"default-by-size-latency", "default-trade-off-latency-params", "default-stages-params"} <= {
        p.stem for p in first
    }
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes().startswith(SIGNATURES[kind])
        assert one.read_bytes() == other.read_bytes()


def test_a_file_explains_its_marks(tmp_path):
    found = [records.record(records.case("gap")), records.record(records.case("gdconv"))]
    path = next(p for p in files.write_figures(records.run_of(found), found, tmp_path, "svg") if "trade-off" in p.name)
    assert ">gdconv<" in path.read_text()


def test_unknown_formats_and_places_are_said(tmp_path):
    with pytest.raises(ConvbenchError, match="unknown figure format 'bmp'; known: png, svg, pdf"):
        files.write_figures(records.run_of([]), [], tmp_path, "bmp")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="figures cannot be written"):
        files.write_figures(records.run_of([]), [], tmp_path / "file", "png")


@pytest.mark.parametrize("name", ["../../etc/passwd", "con:\\x", "\n", "ü" * 300, ""])
def test_no_name_of_a_run_leaves_the_directory(name):
    assert re.fullmatch(r"[\w-]{0,41}", files.run_stem(records.run_of([], name=name)), re.ASCII)


def test_the_summary_holds_answer_tables_and_failures():
    found = records.default_records()
    text = files.markdown(records.run_of(found), found)
    assert text.startswith("## convbench: default\n\n**Cheapest on the conv backbone on this machine: ")
    assert "\n| flatten | 131,072 | channels\\_last+compile | " in text
    assert "\n| compile | inference, cpu | 12 | " in text
    assert "<details><summary>2 without a result</summary>" in text
    assert all(line.count(" | ") in (0, 5, 6) for line in text.splitlines() if line.startswith("| "))


def test_the_summary_holds_the_quality_of_each_task():
    found = records.tried_records()
    text = files.markdown(records.run_of(found), found)
    assert "### Quality: identity" in text
    assert "\n| gmp | 32 | 92.0 % \\[90.0, 94.0\\] | 5 of 5 |  |" in text
    assert "\n| flatten | 131,072 | – | 0 of 5 | 5 dead |" in text


def test_the_summary_is_bounded():
    found = [replace(one, failure=Failure("error", "x" * 5_000)) for one in map(records.failed, many(400))]
    assert len(files.markdown(records.run_of(found, name="n" * 10**5), found)) <= files.BUDGET


def many(n):
    return [Case(records.parts(Choice("n" * 3_000 + str(i)), 8)) for i in range(n)]


def test_hostile_names_stay_text():
    found = [
        records.record(Case(records.parts(Choice(HOSTILE), 8)), latency=1e-3),
        records.failed(records.case(), HOSTILE),
    ]
    text = files.markdown(records.run_of(found, name=HOSTILE), found)
    assert "<script" not in text
    assert "@someone" not in text
    assert text.count("</details>") == 1
    assert "|cell|" not in text
    assert not re.search(r"(?<!\\)`|\[a\]", text)
    assert "\n# head" not in text
