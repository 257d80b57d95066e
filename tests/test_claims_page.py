"""The claims as a page, as data, in a terminal and as a command. The page is also tested in Chromium."""

import io
import json
import math
import re
from pathlib import Path

import claims_evidence as given
import pytest
import records
from rich.console import Console
from typer.testing import CliRunner

from convbench.analysis.claims.claim import Claim, Curve, Number, Plot, Point, all_claims
from convbench.cli import claims
from convbench.cli.app import app
from convbench.cli.claims import _table
from convbench.core.errors import StoreError
from convbench.core.storage import store
from convbench.report.export import claims_json
from convbench.report.page import claims as page
from convbench.report.words import claims as words

AXE = Path(__file__).parent / "browser" / "node_modules" / "axe-core" / "axe.min.js"
MADE = words.Provenance((records.run_of([]),), (0, 1, 2, 3, 4), {"Arithmetic and algebra": "torch 2.13.0"})
TERMINAL = """\
     claim                                                             verdict
C1   A 64×64×32 feature map flattens to 131,072 values                 supported
C2   GAP reduces that map to 32 values                                 supported
C3   An LSTM takes vectors, not feature maps                           supported
C4   Fed with 131,072 values, an LSTM has a sheer number of            supported
     parameters
C5   So large an input extends training times                          supported
C6   So large an input overfits                                        refuted
C7   The LSTM input should be significantly smaller than the map       supported
C8   GAP collapses all spatial information and discards spatial        supported
     detail
C9   An FC layer retains all the information of the flattened vector   refuted
C10  FC works well when intricate features must be kept                supported
C11  GAP suits data with less spatial variability                      refuted
C12  The hybrid reduces GAP's vector further and adds a non-linear     refuted
     transformation
C13  The FC layer is a linear layer and a non-linear activation        refuted
C14  An FC layer's output is often less than half of the flattened     supported
     vector
C15  There is no magic number                                          supported
C16  Parameters stand for cost (implied)                               supported
C17  Feeding the whole map into an LSTM is detrimental to performance  supported
"""


@pytest.fixture(scope="module")
def pilot():
    return all_claims(given.everything())


@pytest.fixture(scope="module")
def written(pilot, tmp_path_factory):
    return page.write(pilot, MADE, tmp_path_factory.mktemp("claims") / "index.html")


def test_the_table_fits_80_columns(pilot):
    out = io.StringIO()
    Console(file=out, width=80, color_system=None).print(_table(pilot))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == TERMINAL.splitlines()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Number("", 131_072), "131,072"),
        (Number("", 67_175_424), "67.2 M"),
        (Number("", 0.736), "0.736"),
        (Number("", 0.5, "share"), "50 %"),
        (Number("", 6.8e-8, "share"), "6.8 × 10⁻⁸"),
        (Number("", 0.0, "share"), "0 %"),
        (Number("", 0.9231, "share", 0.9, 0.95, 5), "92.3 % [90.0, 95.0]"),
        (Number("", -0.0512, "points", -0.06, 0.01), "-5.1 points [-6.0, +1.0]"),
        (Number("", -0.0001, "points", -0.003, 0.001), "+0.0 points [-0.3, +0.1]"),
        (Number("", 45.76, "×", 40.98, 55.3), "46× [41, 55]"),
        (Number("", 3.1e-3, "s", 3.0e-3, 3.3e-3), "3.10 ms [3.00, 3.30]"),
        (Number("", 2.0, "×", float("-inf"), float("inf")), "2.0×"),
        (Number("", 3561.4, "size"), "3,560"),
        (Number("", 6784.0, "size"), "6,784"),
    ],
)
def test_a_claims_number_has_its_unit_and_interval(number, text):
    assert words.number(number) == text


def test_the_tally_is_written_in_words():
    assert words.tally({"supported": 2, "depends": 1}) == "3 claims: 2 supported, 1 depends"
    assert words.tally({"depends": 2, "not tested": 1}) == "3 claims: 2 depend, 1 not tested"


def test_the_page_shows_claims_figures_and_provenance(pilot, written):
    text = written.read_text("utf-8")
    assert "<h1>17 claims: 12 supported, 5 refuted</h1>" in text
    for claim in pilot:
        assert text.count(f'id="{claim.number.lower()}"') == 1
    assert text.count("<figure") == 5
    assert "Seeds of the trainings</dt><dd>0, 1, 2, 3, 4" in text
    assert "torch 2.13.0" in text


def test_the_page_is_self_contained_and_small(written):
    text = written.read_text("utf-8")
    assert "default-src &#39;none&#39;" in text
    assert not re.search(r'(?:src|href)="(?!#|data:,)', text)
    assert len(text) < 200_000


def test_markup_in_a_claim_is_escaped(tmp_path):
    bad = "</script><img src=x onerror=alert(1)>"
    claim = Claim("C1", bad, bad, bad, bad, "depends", bad, (Number(bad, 1.0),))
    text = page.write([claim], words.Provenance(machine_facts={bad: bad}), tmp_path / "index.html").read_text("utf-8")
    assert "<img" not in text


def test_the_json_has_plain_finite_numbers(pilot, tmp_path):
    data = json.loads(claims_json.write(pilot, MADE, tmp_path / "claims.json").read_text("utf-8"))
    assert data["tally"] == {"supported": 12, "refuted": 5}
    assert [claim["number"] for claim in data["claims"]] == [claim.number for claim in pilot]
    claim = data["claims"][9]
    words = ("number", "claim", "quote", "prediction", "experiment", "verdict", "why")
    assert {name: claim[name] for name in words} == {name: getattr(pilot[9], name) for name in words}
    assert claim.keys() - words == {"quantified", "numbers"}
    number = claim["numbers"][2]
    assert number["label"] == "direction: FC less GAP"
    assert number["low"] < number["value"] < number["high"]
    assert (number["unit"], number["n"]) == ("points", 5)


def test_the_command_writes_the_page_and_prints_its_path(tmp_path):
    run_records = given.by_size(lambda size: 0.02 + 4e-6 * size)
    records.stored(tmp_path / "run", run_records)
    done = CliRunner().invoke(app, ["claims", str(tmp_path / "run"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    assert done.stdout.endswith(f"\n{tmp_path}/out/index.html\n{tmp_path}/out/claims.json\n")
    assert "7 supported, 2 refuted, 8 not tested" in done.stdout


def test_a_runs_own_report_is_not_overwritten(tmp_path):
    assert claims._page(tmp_path).name == "index.html"
    store.start(tmp_path, records.run_of([]))
    assert claims._page(tmp_path).name == "claims.html"
    assert claims._page(tmp_path / "mine.html") == tmp_path / "mine.html"  # this used to become a directory


def test_a_folder_without_a_run_is_refused_in_one_message(tmp_path):
    done = CliRunner().invoke(app, ["claims", str(tmp_path)])
    assert isinstance(done.exception, StoreError)
    assert str(done.exception) == f"{tmp_path}: not a run: there is no run.json in {tmp_path}"


# --- In Chromium ------------------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 400])
def test_the_page_neither_scrolls_sideways_nor_logs_anything(browser, written, width):
    browser_page = browser.new_page(viewport={"width": width, "height": 900})
    messages = []
    browser_page.on("console", lambda message: messages.append(message.text))
    browser_page.on("pageerror", lambda error: messages.append(str(error)))
    browser_page.goto(written.as_uri())
    assert browser_page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert messages == []
    browser_page.close()


@pytest.mark.browser
@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci --prefix tests/browser")
@pytest.mark.parametrize(("scheme", "media"), [("light", "screen"), ("dark", "screen"), ("light", "print")])
def test_axe_finds_no_violation_of_any_rule(browser, written, scheme, media):
    browser_page = browser.new_page(color_scheme=scheme, bypass_csp=True)
    browser_page.goto(written.as_uri())
    browser_page.emulate_media(media=media)
    browser_page.add_script_tag(path=AXE)
    script = "axe.run().then(all => all.violations)"
    assert [(violation["id"], violation["nodes"][0]["html"][:200]) for violation in browser_page.evaluate(script)] == []
    browser_page.close()


@pytest.mark.browser
def test_each_verdict_has_its_own_look(browser, written):
    browser_page = browser.new_page()
    browser_page.goto(written.as_uri())
    look = """verdict => {
        const tag = Object.assign(document.createElement('span'), { className: `tag ${verdict}` });
        const { color, borderStyle } = getComputedStyle(document.body.appendChild(tag));
        return color + borderStyle;
    }"""
    looks = [browser_page.evaluate(look, verdict) for verdict in ("supported", "refuted", "depends", "undecided")]
    assert len({style.partition(")")[0] for style in looks[:3]}) == 3
    assert len(set(looks)) == 4
    browser_page.close()


def test_a_log_axis_leaves_out_what_it_cannot_show():
    """A user's claim with a value of 0 stopped the whole page: math domain error."""
    points = (Point(0, 0.0), Point(32, 2e-3, -1e-3, 3e-3), Point(64, math.nan))
    axes = page.draw(Plot("t", "c", ("Size", "size"), ("Latency", "s"), (Curve("a", points),)), "a").figure.axes[0]
    assert 0 < axes.get_xlim()[0] < 32 < 64 < axes.get_xlim()[1]
    assert 0 < axes.get_ylim()[0] < 2e-3
    with pytest.raises(ValueError, match="each curve points"):
        Plot("t", "c", ("Size", "size"), ("Latency", "s"), (Curve("a", ()),))
