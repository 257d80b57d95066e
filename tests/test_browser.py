"""The report in a real browser: what a reader sees, does by mouse, touch and keyboard, prints and downloads.

Needs Debian's Chromium; the accessibility tests also axe-core, installed by ``npm ci --prefix tests/browser``.
"""

import csv
import io
import json
import re
from pathlib import Path

import pytest
import records
from test_report_page import HOSTILE, hostile_records

from convbench.analysis import table
from convbench.analysis.costs.pareto import fronts
from convbench.analysis.costs.selection import opening
from convbench.analysis.results import results
from convbench.report.drawing.scatter import value
from convbench.report.page import compare
from convbench.report.page import run as page

AXE = Path(__file__).parent / "browser" / "node_modules" / "axe-core" / "axe.min.js"
DESKTOP = {"viewport": {"width": 1400, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Pages by name: a default run, one with hostile names, one with many cases, two runs side by side."""
    at = tmp_path_factory.mktemp("reports")
    tried, own = records.tried_records(), records.own_records()
    found, hostile, many = records.default_records(), hostile_records(), records.many(1600, ["eager"])
    run, other = records.run_of(found), records.run_of(found, environment={**records.ENVIRONMENT, "torch": "2.6.0"})
    return {
        "default": page.write(run, found, at / "default.html"),
        "tried": page.write(records.run_of(tried), tried, at / "tried.html"),
        "hostile": page.write(records.run_of(hostile, name=HOSTILE, command=HOSTILE), hostile, at / "hostile.html"),
        "own": page.write(records.run_of(own), own, at / "own.html"),
        "many": page.write(records.run_of(many), many, at / "many.html"),
        "compare": compare.write([(run, found), (other, found)], at / "compare.html"),
        "three": compare.write([(run, found), (other, found), (run, found)], at / "three.html"),
    }


@pytest.fixture
def show(browser, reports):
    """Open a page in a context of its own; at the end nothing was fetched, logged or thrown."""
    opened, seen = [], []

    def open_page(name="default", **options):
        context = browser.new_context(**{**DESKTOP, **options})
        opened.append(context)
        made = context.new_page()
        made.on(
            "request",
            lambda request: (
                seen.append(request.url) if not request.url.startswith(("file:", "blob:", "data:")) else None
            ),
        )
        made.on("console", lambda message: seen.append(message.text))
        made.on("pageerror", lambda error: seen.append(str(error)))
        made.on("dialog", lambda dialog: seen.append(dialog.message))
        made.goto(reports[name].as_uri())
        made.locator("html[data-ready]").wait_for(state="attached")
        return made

    yield open_page
    for context in opened:
        context.close()
    assert seen == []


def marks(chart):
    """The places of all marks of a chart, by mouse coordinates of its SVG."""
    points = chart.locator("polyline.marks").evaluate_all(
        "all => all.filter(one => !one.matches('[data-part=rings]') && !one.style.marker.includes('ring'))"
        ".map(one => one.getAttribute('points'))"
    )
    pairs = [point.split(",") for part in points for point in part.split()]
    return sorted((round(float(x), 1), round(float(y), 1)) for x, y in pairs)


def settle(shown):
    """Bring the table, which is drawn when it is nearly in view, up to date."""
    shown.locator("#table, #compared").scroll_into_view_if_needed()
    shown.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def texts(chart):
    return sorted(filter(None, chart.locator(".plot svg text").all_text_contents()))


def how(shown, chart):
    """How to read a chart: in its section's one text, that opens."""
    return shown.locator(f"#{chart.get_attribute('id')}-how").text_content().lower()


def size_chart(shown):
    return shown.locator("#by-size0")


def trade_off(shown):
    return shown.locator("#trade-off0")


@pytest.mark.parametrize("name", ["default", "tried", "hostile", "compare"])
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_page_scrolls_sideways(show, name, device):
    shown = show(name, **device)
    assert shown.locator("html").get_attribute("data-ready") == "true"
    assert shown.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


WIDE = {"viewport": {"width": 1400, "height": 900}}
HIDDEN = """selector => [...document.querySelectorAll(selector)].filter(one => {
    const box = one.getBoundingClientRect(), around = one.closest('.scroll').getBoundingClientRect();
    return box.width && (box.right > around.right + 1 || box.left < around.left - 1);
}).map(one => one.textContent.trim())"""


@pytest.mark.parametrize("name", ["default", "tried", "own"])
def test_no_column_is_cut_off_on_a_desktop_or_on_paper(show, name):
    shown = show(name, **WIDE)
    settle(shown)
    assert shown.evaluate(HIDDEN, "#table thead th, .ranking thead th") == []
    shown.emulate_media(media="print")
    shown.set_viewport_size({"width": 718, "height": 1000})
    assert shown.evaluate(HIDDEN, "#table thead th, .ranking thead th") == []


def test_a_phone_shows_latency_and_ties_without_scrolling(show):
    shown = show("default", **PHONE)
    settle(shown)
    assert shown.evaluate(HIDDEN, ".ranking td:nth-child(-n+4), .ranking .tag") == []
    assert shown.locator(".ranking .tag", has_text="tied").count() > 3
    assert shown.evaluate(HIDDEN, "#table td:nth-child(-n+5)") == []


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci --prefix tests/browser")
@pytest.mark.parametrize("name", ["default", "tried", "hostile", "compare"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_of_any_rule(show, name, scheme):
    shown = show(name, color_scheme=scheme, bypass_csp=True)
    if name != "compare":
        shown.locator("#table tbody button.name").first.click()
        shown.locator(".chip").first.click()
    shown.add_script_tag(path=AXE)
    found = shown.evaluate("axe.run().then(all => all.violations)")
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []


def test_quality_is_on_the_page_and_costs_stay_costs(show):
    shown = show("tried")
    quality = shown.locator("section[aria-labelledby=quality]")
    assert quality.locator("figure.chart").count() == 4
    assert quality.locator("table").count() == 6
    rows = shown.locator("#table tbody tr")
    settle(shown)
    assert rows.count() == 7
    assert shown.locator("#count").inner_text() == "7 of 7 shown, 13 measured"
    for asked, wanted in (("learn", 0), ("probe", 0), ("lstm128", 13)):
        shown.get_by_label("Search").fill(asked)
        settle(shown)
        assert rows.count() == wanted
    shown.locator(".chip", has_text=re.compile(r"^\s*gmp\s*$")).click()
    settle(shown)
    assert rows.count() == 11
    shown.get_by_label("Search").fill("")
    settle(shown)
    assert rows.count() == 6


def test_hostile_names_are_shown_as_text(show):
    shown = show("hostile")
    assert HOSTILE in shown.locator("body").inner_text()
    assert shown.locator("img").count() == 0
    shown.locator("#table tbody button.name").first.click()
    assert shown.locator("#pin h3").is_visible()


def test_a_script_that_is_not_ours_does_not_run(browser, reports):
    shown = browser.new_page()
    shown.goto(reports["default"].as_uri())
    shown.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    assert shown.evaluate("window.ran") is None
    shown.close()


def test_what_the_script_draws_is_what_matplotlib_drew(show):
    shown = show()
    for chart in (size_chart(shown), trade_off(shown)):
        before, words = marks(chart), texts(chart)
        chart.get_by_role("button", name="Reset").click()
        assert chart.locator(".layer").count() == 1
        after = marks(chart)
        assert len(after) == len(before)
        assert all(
            abs(a - b) <= 0.15
            for one, other in zip(before, after, strict=True)
            for a, b in zip(one, other, strict=True)
        )
        assert texts(chart) == words


@pytest.mark.parametrize(
    ("y", "x"),
    [("latency", "params"), ("memory", "flops"), ("flops", "cold"), ("latency", "frames_per_j"),
     ("frames_per_j", "params"), ("frames_per_j", "answers"), ("latency", "spins")],
)  # fmt: skip
def test_the_scripts_fronts_are_those_of_the_analysis(show, y, x):
    found = results(records.own_records())
    first = opening(found)
    across, up = found[0].metric(x), found[0].metric(y)
    able = [one for one in found if one in first and one.record.status == "ok"]
    able = [one for one in able if value(one, across) and value(one, up)]
    wanted = [one.case.id for members in fronts(able, across, up).values() for one in members]
    shown = show("own")
    chart = trade_off(shown)
    chart.get_by_label("Vertical").select_option(y)
    chart.get_by_label("Across").select_option(x)
    rings = chart.locator("polyline[style*=ring]")
    drawn = rings.get_attribute("points").split() if wanted else []
    assert len(drawn) == len(wanted)
    assert rings.count() == bool(wanted)
    assert len(marks(chart)) == len(able)


def test_axes_say_which_direction_is_better_and_the_caption_which_corner(show):
    shown = show("own")
    chart = trade_off(shown)
    assert "lower left is better" in how(shown, chart)
    chart.get_by_label("Vertical").select_option("frames_per_j")
    chart.get_by_label("Across").select_option("latency")
    assert "Frames a joule · higher is better" in texts(chart)
    assert "Latency of a call · lower is better" in texts(chart)
    assert "upper left is better" in how(shown, chart)
    assert chart.locator("figcaption").inner_text() == "Frames a joule against Latency of a call"
    assert any(text.endswith(" frames/J") for text in texts(chart))
    chart.get_by_label("Across").select_option("answers")
    assert "upper right is better" in how(shown, chart)
    chart.get_by_label("Across").select_option("spins")
    assert "Spins" in texts(chart)


def test_a_users_own_metric_is_a_column_that_sorts_and_a_fact_of_the_card(show):
    shown = show("own")
    head = shown.locator("th[data-key=frames_per_j]")
    head.get_by_role("button").click()
    head.get_by_role("button").click()
    settle(shown)
    cells = shown.locator("#table tbody tr").first.locator("td").all_inner_texts()
    assert any(text.endswith(" frames/J") for text in cells)
    shown.locator("#table tbody button.name").first.click()
    assert "Frames a joule" in shown.locator("#pin").inner_text()


def test_choosing_another_cost_renames_the_chart(show):
    shown = show()
    size_chart(shown).get_by_label("Vertical").select_option("params")
    assert size_chart(shown).locator("figcaption").inner_text() == "Parameters against LSTM input size"
    assert "Parameters · lower is better" in texts(size_chart(shown))


def test_a_chip_takes_its_reducer_out_of_charts_and_table(show):
    shown = show()
    before = len(marks(size_chart(shown)))
    gap = shown.locator(".chip", has_text=re.compile(r"^\s*gap\s*$"))
    gap.click()
    settle(shown)
    assert gap.get_attribute("aria-pressed") == "false"
    fewer = len(marks(size_chart(shown)))
    assert fewer < before
    assert len(marks(trade_off(shown))) == fewer
    assert shown.locator("#table tbody button.name", has_text=re.compile("^gap$")).count() == 0
    gap.click()
    settle(shown)
    assert len(marks(size_chart(shown))) == before


def test_selects_filter_by_variant_backbone_and_scenario(show):
    shown = show()
    shown.locator("select[data-filter=variant]").select_option("compile")
    settle(shown)
    assert len(marks(size_chart(shown))) == 12
    assert shown.locator("#count").inner_text() == "12 of 12 shown, 67 measured"
    shown.locator("select[data-filter=variant]").select_option("")
    shown.locator("select[data-filter=backbone]").select_option("conv(channels=8)")
    settle(shown)
    assert shown.locator("#table tbody tr").count() == 3
    shown.locator("select[data-filter=backbone]").select_option("")
    shown.locator("select[data-filter=scenario]").select_option("streaming")
    settle(shown)
    assert shown.locator("#table tbody tr").count() == 3


def test_all_variants_at_once_are_a_panel_each_on_the_same_scales(show):
    shown = show()
    shown.locator("select[data-filter=variant]").select_option("")
    shown.locator("select[data-filter=scenario]").select_option("inference")
    for chart in (size_chart(shown), trade_off(shown)):
        assert chart.locator("text.panel").all_text_contents() == [
            "eager", "channels_last", "channels_last+compile", "compile",
        ]  # fmt: skip
    chart = trade_off(shown)
    boxes = chart.locator("text.panel").evaluate_all(
        "all => all.map(one => [one.x.baseVal[0].value, one.y.baseVal[0].value])"
    )
    (left, _), (right, _), (_, low), _ = boxes
    compiled = [(x, y) for x, y in marks(chart) if x > right - 6 and y > low]
    assert len(compiled) == 12
    flops = chart.get_by_label("Across")
    flops.select_option("flops")
    places = marks(chart)
    of_eager = {round(x - left, 1) for x, y in places if x < right - 6 and y < low}
    assert {round(x - right, 1) for x, y in places if x > right - 6 and y > low} <= of_eager
    chart.locator(".plot").focus()
    shown.keyboard.press("+")
    assert 0 < len(marks(chart)) < len(places)


def test_pointing_shows_a_case_and_clicking_pins_it(show):
    shown = show()
    chart = size_chart(shown)
    chart.scroll_into_view_if_needed()
    x, y = marks(chart)[-1]
    frame = chart.locator(".plot > svg").bounding_box()
    rate = frame["width"] / 440
    shown.mouse.move(frame["x"] + x * rate, frame["y"] + y * rate)
    assert "flatten, LSTM input 131,072" in shown.locator("#tip").inner_text()
    shown.mouse.click(frame["x"] + x * rate, frame["y"] + y * rate)
    for pinned in (chart, trade_off(shown)):
        assert pinned.locator(".cursor.pinned").get_attribute("visibility") == "visible"
    assert "convbench run suites/default.yaml --only" in shown.locator("#pin").inner_text()
    shown.keyboard.press("Escape")
    assert not shown.locator("#pin").is_visible()


def test_everything_works_by_keyboard(show):
    shown = show()
    plot = size_chart(shown).locator(".plot")
    plot.focus()
    shown.keyboard.press("ArrowRight")
    first = shown.locator("#tip").inner_text()
    shown.keyboard.press("ArrowRight")
    assert shown.locator("#tip").inner_text() != first
    shown.keyboard.press("Enter")
    assert shown.locator("#pin").is_visible()
    assert shown.locator("#pin .close").evaluate("one => one === document.activeElement")
    shown.keyboard.press("Enter")
    assert not shown.locator("#pin").is_visible()
    assert plot.evaluate("one => one === document.activeElement")
    shown.keyboard.press("+")
    assert size_chart(shown).locator(".layer").count() == 1


def test_every_part_can_be_reached_by_tab(show):
    shown = show()
    shown.locator("body").focus()
    reached = set()
    for _ in range(60):
        shown.keyboard.press("Tab")
        reached.add(
            shown.evaluate(
                "document.activeElement.className || document.activeElement.id || document.activeElement.tagName"
            )
        )
    assert {"skip", "chip", "SELECT", "plot", "search", "csv", "json"} <= reached


STOPS = """() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex]')]
    .filter(one => one.tabIndex >= 0 && one.checkVisibility() && one.getClientRects().length)
    .filter(one => one.compareDocumentPosition(document.getElementById('table')) & Node.DOCUMENT_POSITION_FOLLOWING)
    .filter(one => !one.closest('.tools, .skip, .scroll:has(#table)'))
    .map(one => one.className || one.id || one.tagName)"""


@pytest.mark.parametrize("name", ["default", "own", "tried"])
def test_the_table_is_at_most_25_stops_away(show, name):
    stops = show(name).evaluate(STOPS)
    assert len(stops) <= 25, stops


def test_arrow_keys_go_through_the_reducers(show):
    shown = show()
    chips = shown.locator(".chip")
    chips.first.focus()
    shown.keyboard.press("ArrowLeft")
    assert shown.locator(".legend .all").evaluate("one => one === document.activeElement")
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("Enter")
    assert chips.nth(1).get_attribute("aria-pressed") == "false"
    assert shown.locator(".legend [tabindex='0']").count() == 1


def test_dragging_zooms_and_double_click_resets(show):
    shown = show()
    chart = trade_off(shown)
    chart.scroll_into_view_if_needed()
    frame = chart.locator(".plot > svg").bounding_box()
    rate = frame["width"] / 440
    everything = len(marks(chart))
    shown.mouse.move(frame["x"] + 60 * rate, frame["y"] + 190 * rate)
    shown.mouse.down()
    shown.mouse.move(frame["x"] + 150 * rate, frame["y"] + 320 * rate, steps=4)
    shown.mouse.up()
    assert 0 < len(marks(chart)) < everything
    shown.mouse.dblclick(frame["x"] + 300 * rate, frame["y"] + 200 * rate)
    assert len(marks(chart)) == everything


def test_a_finger_on_a_mark_pins_it_and_the_page_still_scrolls(show):
    shown = show(**PHONE)
    chart = size_chart(shown)
    chart.scroll_into_view_if_needed()
    x, y = marks(chart)[0]
    frame = chart.locator(".plot > svg").bounding_box()
    rate = frame["width"] / 440
    shown.touchscreen.tap(frame["x"] + x * rate, frame["y"] + y * rate)
    assert shown.locator("#pin").is_visible()
    assert chart.locator(".plot").evaluate("one => getComputedStyle(one).touchAction") != "none"


def test_the_table_without_script_is_the_table_with_it(show, browser, reports):
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(reports["default"].as_uri())
    assert plain.locator("figure.chart svg").count() == 11
    assert not plain.locator(".controls").first.is_visible()
    wanted = [row for row in plain.locator("#table tbody tr").all_text_contents() if "streaming" not in row]
    context.close()
    shown = show()
    for name in ("variant", "backbone"):
        shown.locator(f"select[data-filter={name}]").select_option("")
    settle(shown)
    drawn = shown.locator("#table tbody tr").all_text_contents()
    assert len(drawn) == len(wanted) > 50
    assert ["".join(row.removesuffix("Copy").replace("!", "").split()) for row in drawn] == [
        "".join(row.split()) for row in wanted
    ]


def test_the_table_is_sorted_by_its_heads_and_searched_by_words(show):
    shown = show()
    head = shown.locator("th[data-key=params]")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert shown.locator("th[data-key=latency]").get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert shown.locator("#table tbody tr").first.inner_text().lstrip().startswith("fc(activation=true)")
    shown.get_by_label("Search").fill("GAP compile")
    settle(shown)
    assert set(shown.locator("#table tbody button.name").all_inner_texts()) == {"gap"}


def test_downloads_hold_what_the_run_holds(show):
    shown = show()
    found = records.default_records()
    wanted = [table.row(record) for record in found]
    rows = {}
    for kind in ("csv", "json"):
        with shown.expect_download() as caught:
            shown.locator(f"#{kind}").click()
        assert caught.value.suggested_filename == f"default.{kind}"
        rows[kind] = Path(caught.value.path()).read_text("utf-8")
    as_csv, as_json = list(csv.DictReader(io.StringIO(rows["csv"]))), json.loads(rows["json"])
    assert list(as_csv[0])[: len(table.COLUMNS)] == list(table.COLUMNS)
    for row, line, one in zip(wanted, as_csv, as_json, strict=True):
        assert one["case"] == line["case"] == row["case"]
        assert one["macs"] == row["macs"]
        assert line["params"] == ("" if row["params"] is None else str(row["params"]))
        median = row["latency_s_median"]
        assert one["latency_s_median"] == (median and pytest.approx(median, rel=1e-5))


def downloaded(shown, kind):
    with shown.expect_download() as caught:
        shown.locator(f"[data-export={kind}]").click()
    assert caught.value.suggested_filename == f"default-shown.{kind}"
    return Path(caught.value.path()).read_text("utf-8")


def test_what_the_table_shows_is_exported_in_its_order(show):
    shown = show()
    shown.get_by_label("Search").fill("compile")
    shown.locator("th[data-key=params]").get_by_role("button").click()
    shown.locator(".chip").nth(2).click()
    settle(shown)
    text = "cell => (cell.querySelector('.name') ?? cell).textContent.trim()"
    rows = shown.locator("#table tbody tr").evaluate_all(
        f"all => all.map(row => [...row.cells].slice(0, -1).map({text}))"
    )
    heads = shown.locator("#table thead th[data-key]").all_inner_texts()
    heads = [head.strip(" ▲▼") for head in heads]
    assert len(rows) > 10
    assert list(csv.reader(io.StringIO(downloaded(shown, "csv")))) == [heads, *rows]
    marked = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in downloaded(shown, "md").splitlines()]
    assert [[re.sub(r"\\(.)", r"\1", cell) for cell in line] for line in [marked[0], *marked[2:]]] == [heads, *rows]
    latex = downloaded(shown, "tex").splitlines()
    assert latex[1] == rf"\begin{{tabular}}{{{'lrrrrll' + 'r' * (len(heads) - 7)}}}"
    assert latex[-2:] == [r"\bottomrule", r"\end{tabular}"]
    body = latex[5:-2]
    assert len(body) == len(rows)
    assert all(line.count(" & ") == len(heads) - 1 and line.endswith(r" \\") for line in body)
    assert not re.search(r"(?<!\\)[_%#]|×|µ", "".join(body))


def test_copy_gives_the_command_of_the_row(show):
    shown = show(permissions=["clipboard-read", "clipboard-write"])
    shown.get_by_label("Search").fill("flatten compile channels_last+compile")
    settle(shown)
    shown.locator("#table tbody tr button", has_text="Copy").first.click()
    shown.get_by_text("Copied").wait_for()
    wanted = "conv/flatten/131072/lstm128/1x16x3x64x64/channels_last+compile/inference/cpu"
    row = 1 + [record.case.id for record in records.default_records()].index(wanted)
    command = f"convbench run suites/default.yaml --only {wanted} --out reports/again/default-{row}"
    assert shown.evaluate("navigator.clipboard.readText()") == command


def test_paper_is_white_whatever_the_screen_is(show):
    shown = show(color_scheme="dark")
    dark = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    shown.emulate_media(media="print", color_scheme="dark")
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)" != dark
    assert shown.evaluate("getComputedStyle(document.body).color") == "rgb(28, 33, 40)"
    assert not shown.locator(".controls").first.is_visible()
    assert len(shown.pdf(format="A4")) > 10_000


def test_paper_has_every_row_and_what_is_folded_on_the_screen(show):
    shown = show("many")
    settle(shown)
    rows = shown.locator("#table tbody tr")
    assert rows.count() == 100
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert rows.count() == 1600
    shown.evaluate("dispatchEvent(new Event('afterprint'))")
    assert rows.count() == 100
    shown = show("default")
    shown.emulate_media(media="print")
    assert shown.get_by_text("costs 20× the FLOPs").is_visible()
    assert shown.locator(".reading .how").first.is_visible()
    assert not shown.locator("#budget").is_visible()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci --prefix tests/browser")
@pytest.mark.parametrize("name", ["default", "tried", "compare"])
def test_axe_finds_nothing_in_print(show, name):
    shown = show(name, bypass_csp=True)
    shown.emulate_media(media="print")
    shown.add_script_tag(path=AXE)
    found = shown.evaluate("axe.run().then(all => all.violations)")
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []


@pytest.mark.parametrize("width", [1400, 768, 420])
def test_three_runs_are_columns_that_are_all_in_view_on_a_desktop(show, width):
    shown = show("three", viewport={"width": width, "height": 900})
    heads = shown.locator("#compared thead th").all_inner_texts()
    assert heads == ["Case", "Backbone, clip, scenario", "A", "B", "B over A", "C", "C over A"]
    if width > 1000:
        assert shown.evaluate(HIDDEN, "#compared th, #compared td") == []
    assert shown.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_thousands_of_marks_are_a_bitmap_on_screen_and_marks_on_paper(show):
    shown = show("many")
    chart = size_chart(shown)
    assert len(marks(chart)) == 1600
    chart.get_by_role("button", name="Reset").click()
    assert marks(chart) == []
    drawn = "one => one.getContext('2d').getImageData(0, 0, one.width, one.height).data.filter(value => value).length"
    assert chart.locator("canvas").evaluate(drawn) > 10_000
    assert chart.locator("canvas").bounding_box() == pytest.approx(chart.locator(".plot > svg").bounding_box(), abs=1)
    shown.locator(".chip").first.click()
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert 1400 < len(marks(chart)) < 1600
    assert not chart.locator("canvas").is_visible()


def test_the_compared_table_sorts_and_searches(show):
    shown = show("compare")
    shown.locator("#compared th", has_text="B over A").get_by_role("button").click()
    rows = shown.locator("#compared tbody tr")
    ratios = [float(text) for text in rows.evaluate_all("all => all.map(row => row.cells[4].dataset.v)")]
    assert ratios == sorted(ratios)
    count = shown.locator("[data-count=compared]")
    assert count.inner_text() == "67 of 67 shared cases"
    shown.get_by_label("Search").fill("flatten")
    assert shown.locator("#compared tbody tr:visible").count() == 5
    assert count.inner_text() == "5 of 67 found"
    shown.get_by_label("Search").fill("compile HYBRID")
    assert shown.locator("#compared tbody tr:visible").count() == 2
    shown.get_by_label("Search").fill("")
    assert count.inner_text() == "67 of 67 shared cases"
    assert (
        shown.locator(".banner")
        .inner_text()
        .startswith("Careful. These runs were not made under the same conditions: torch")
    )


def saved(shown, button):
    with shown.expect_download() as caught:
        shown.locator(button).click()
    return caught.value.suggested_filename, Path(caught.value.path()).read_text("utf-8")


def test_what_is_compared_is_exported_as_it_is_searched_and_sorted(show):
    shown = show("three")
    shown.get_by_label("Search").fill("compile HYBRID")
    shown.locator("#compared th", has_text="C over A").get_by_role("button").click()
    rows = shown.locator("#compared tbody tr:visible").evaluate_all(
        "all => all.map(row => [...row.cells].map(cell => cell.textContent.trim().replace(/\\s+/g, ' ')))"
    )
    name, text = saved(shown, "[data-export=csv]")
    assert name == "default-compared-shown.csv"
    heads, *lines = csv.reader(io.StringIO(text))
    assert (heads[:5], lines) == (["Case", "Backbone, clip, scenario", "A", "B", "B over A"], rows)
    assert len(rows) == 2
    assert saved(shown, "[data-export=md]")[1].count("\n") == 4
    assert saved(shown, "[data-export=tex]")[1].splitlines()[1] == r"\begin{tabular}{llrrrrr}"
    name, text = saved(shown, "[data-all]")
    every = list(csv.DictReader(io.StringIO(text)))
    assert (name, len(every)) == ("default-compared.csv", 67)
    assert all(float(row["B_over_A_median"]) == 1 for row in every)


def test_a_link_keeps_the_order_of_the_table(show, browser):
    shown = show()
    head = "th[data-key=params]"
    shown.locator(head).get_by_role("button").click()
    shown.locator(head).get_by_role("button").click()
    settle(shown)
    assert "sort=-params" in shown.url
    other = browser.new_page()
    other.goto(shown.url)
    settle(other)
    assert other.locator(head).get_attribute("aria-sort") == "descending"
    assert other.locator("#table tbody tr").all_inner_texts() == shown.locator("#table tbody tr").all_inner_texts()
    other.close()
    shown.locator("th[data-key=latency]").get_by_role("button").click()
    settle(shown)
    assert "sort=" not in shown.url


def test_the_first_screen_holds_decision_confidence_next_command_and_both_figures(show):
    shown = show("tried")
    assert shown.locator("h1").inner_text().startswith("Identity: take gmp at LSTM input 32")
    low = shown.locator("h1").evaluate(
        "one => one.getBoundingClientRect().height / parseFloat(getComputedStyle(one).lineHeight)"
    )
    assert low <= 3
    shown = show("default")
    for part in ("h1", ".sure", ".next li >> nth=0", "#reducers0", "#curve0", "#budget"):
        assert shown.locator(part).evaluate("one => one.getBoundingClientRect().top < innerHeight - 200"), part


def test_a_next_command_names_the_place_of_the_run_and_is_copied(show, reports):
    shown = show(permissions=["clipboard-read", "clipboard-write"])
    step = shown.locator(".next li").first
    place = reports["default"].parent
    assert step.locator("code").inner_text().endswith(f"protocol.visits=3 --out {place}-visits-3")
    step.get_by_role("button").click()
    step.get_by_text("Copied").wait_for()
    assert shown.evaluate("navigator.clipboard.readText()") == step.locator("code").inner_text()


def limit(shown, name, at):
    shown.locator(f"#limit-{name}").evaluate(
        "(one, at) => { one.value = at; one.dispatchEvent(new Event('input')); }", at
    )


def test_the_budget_answers_what_advise_answers_and_draws_its_limits(show, reports):
    from convbench.analysis.choice.by_task import recommendations
    from convbench.analysis.choice.recommendation import Ask
    from convbench.core.quantities import amount
    from convbench.report.words import advice

    shown = show("tried")
    limits = shown.evaluate("JSON.parse(document.getElementById('data').textContent).budget.limits")
    for latency, memory in ((2, 9), (3, 0), (0, 2), (15, 9), (10, 1)):
        limit(shown, "latency", latency)
        limit(shown, "memory", memory)
        command = shown.locator("#budget code").inner_text().split()
        given = dict(zip(command[3::2], command[4::2], strict=True))
        asked = {name.removeprefix("--"): amount(name, text, {"--latency": "s", "--memory": "B"}[name])
                 for name, text in given.items()}  # fmt: skip
        assert asked == {name: limits[name][at][0] for name, at in (("latency", latency), ("memory", memory))
                         if at < len(limits[name])}  # fmt: skip
        wanted = [" ".join(advice.sentences(one)[:2]) if one.pick else f"{one.task}: none meets the limits."
                  for one in recommendations(records.tried_records(), Ask(asked))]  # fmt: skip
        said = shown.locator("#budget-answer p").evaluate_all("all => all.map(one => one.firstChild.textContent)")
        assert said == wanted
    assert trade_off(shown).locator("path.limit").count() == 2
    assert shown.locator("#curve0 path.limit, #reducers0 path.limit").count() == 2


def test_without_quality_the_budget_answers_by_cost_as_advise_does(show):
    from convbench.analysis.choice.by_budget import within
    from convbench.report.words.budget import fitting

    shown = show("default")
    limits = shown.evaluate("JSON.parse(document.getElementById('data').textContent).budget.limits")
    found = results(records.default_records())
    for latency, memory in ((0, 0), (1, 8), (3, 2), (10, 9)):
        limit(shown, "latency", latency)
        limit(shown, "memory", memory)
        asked = {name: limits[name][at][0] for name, at in (("latency", latency), ("memory", memory))
                 if at < len(limits[name])}  # fmt: skip
        said = shown.locator("#budget-answer p").evaluate("one => one.firstChild.textContent")
        assert said == fitting(within(found, asked))


def test_a_link_opens_the_page_as_it_was(show, reports, browser):
    shown = show()
    shown.locator("select[data-filter=variant]").select_option("compile")
    shown.locator(".chip").nth(1).click()
    size_chart(shown).get_by_label("Vertical").select_option("params")
    shown.get_by_label("Search").fill("conv compile")
    limit(shown, "latency", 2)
    settle(shown)
    shown.locator("#table tbody button.name").nth(2).click()
    name = shown.locator("#pin h3").inner_text()
    settle(shown)
    kept = shown.url
    assert "#case=conv/" in kept
    other = browser.new_page()
    other.goto(kept)
    settle(other)
    assert other.locator("#pin h3").inner_text() == name
    assert other.locator("select[data-filter=variant]").input_value() == "compile"
    assert other.locator(".chip[aria-pressed=false]").count() == 1
    assert size_chart(other).locator("figcaption").inner_text() == "Parameters against LSTM input size"
    assert other.locator("#table tbody tr").count() == shown.locator("#table tbody tr").count()
    assert other.locator("#limit-latency").input_value() == "2"
    other.locator("#pin .close").click()
    settle(other)
    assert "case=" not in other.url
    other.close()


def test_a_link_to_nothing_opens_the_page_as_ever(browser, reports):
    shown = browser.new_page()
    faults = []
    shown.on("pageerror", lambda error: faults.append(str(error)))
    shown.goto(
        f"{reports['default'].as_uri()}#case=no/such&variant=none&by-size0.y=<b>&max-latency=-1&hide=x&sort=-none"
    )
    assert shown.locator("html").get_attribute("data-ready") == "true"
    assert not shown.locator("#pin").is_visible()
    assert len(marks(size_chart(shown))) == 22
    assert faults == []
    shown.close()


def test_the_pinned_card_shows_samples_by_visit_and_percentiles(show):
    shown = show()
    shown.locator("#table tbody button.name").first.click()
    card = shown.locator("#pin")
    assert card.locator("svg.visits path.visit").count() == 1
    assert "p90" in card.inner_text()
    assert card.locator("svg.visits").get_attribute("aria-label") == "Latency by visit: 60 samples in 1 visit"
