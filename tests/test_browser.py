"""Test the report in a real browser: layout, mouse, touch, keyboard, printing and downloads.

Needs Debian's Chromium. The accessibility tests also need axe-core, installed by ``npm ci --prefix tests/browser``.
"""

import ast
import csv
import io
import itertools
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import records
from test_report_page import HOSTILE, hostile_records

from convbench.analysis import table
from convbench.analysis.costs.chart_view import initial_view
from convbench.analysis.costs.pareto import fronts
from convbench.analysis.results import result, results
from convbench.core.record import Case, Choice, Clip, Visit, Whole
from convbench.report.drawing.scatter import value
from convbench.report.page import compare
from convbench.report.page import run as run_page

AXE = Path(__file__).parent / "browser" / "node_modules" / "axe-core" / "axe.min.js"
DESKTOP = {"viewport": {"width": 1400, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}

pytestmark = pytest.mark.browser


ODD, CALLED = "convbench run RUN.yaml", "convbench.run('RUN.yaml')"


def places_records():
    """Return records of fc at three sizes, for clips of two shapes, on one and on two threads."""
    found = []
    for clip, threads in itertools.product((Clip(), Clip(height=128, width=128)), (1, 2)):
        for size in (32, 512, 2048):
            of = replace(records.case("fc", size, clip=clip), threads=None if threads == 1 else threads)
            record = records.record(of, latency=(4e-3 + 1e-6 * size) / threads)
            readings = [
                replace(one, visits=(60,)) if one.metric.name == "latency_s" else one for one in record.readings
            ]
            found.append(replace(record, readings=tuple(readings), visits=(Visit(0),), conditions={"threads": threads}))
    return found


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Write pages and return their paths by name: default run, hostile names, many cases, odd paths, compared runs."""
    at = tmp_path_factory.mktemp("reports")
    tried, own = records.tried_records(), records.own_records()
    odd = [records.record(records.case(name), latency=seconds) for name, seconds in (("a|b", 1e-3), ("a", 2e-3))]
    default_records, hostile, many = records.default_records(), hostile_records(), records.many(1600, ["eager"])
    places = places_records()
    whole = [records.record(Case(Whole(Choice(name)))) for name in ("net:build", "net:other")]
    long = [records.record(Case(Whole(Choice(f"{'a_package.' * 8}net:build_{number}")))) for number in range(3)]
    normed = [records.record(records.case("gap", parts={"layer_norm": norm})) for norm in (False, True)]
    headed = [records.record(records.case("gap", parts={"head": head})) for head in (4, 10)]
    beside = [*(records.record(records.case(name)) for name in ("gap", "fc")), *whole]
    run, other = (
        records.run_of(default_records),
        records.run_of(default_records, environment={**records.ENVIRONMENT, "torch": "2.6.0"}),
    )
    return {
        "default": run_page.write(run, default_records, at / "default.html"),
        "tried": run_page.write(records.run_of(tried), tried, at / "tried.html"),
        "hostile": run_page.write(records.run_of(hostile, name=HOSTILE, command=HOSTILE), hostile, at / "hostile.html"),
        "own": run_page.write(records.run_of(own), own, at / "own.html"),
        "many": run_page.write(records.run_of(many), many, at / "many.html"),
        "long": run_page.write(records.run_of(long), long, at / "long.html"),
        "normed": run_page.write(records.run_of(normed), normed, at / "normed.html"),
        "headed": run_page.write(records.run_of(headed), headed, at / "headed.html"),
        "beside": run_page.write(records.run_of(beside), beside, at / "beside.html"),
        "places": run_page.write(records.run_of(places), places, at / "places.html"),
        "odd": run_page.write(records.run_of(odd, command=ODD), odd, at / "it's my $& RUN" / "shell.html"),
        "elsewhere": run_page.write(run, default_records, at / "elsewhere.html", at / "run"),
        "called": run_page.write(records.run_of(odd, command=CALLED), odd, at / "it's my $& RUN" / "python.html"),
        "compare": compare.write([(run, default_records), (other, default_records)], at / "compare.html"),
        "three": compare.write(
            [(run, default_records), (other, default_records), (run, default_records)], at / "three.html"
        ),
    }


@pytest.fixture(scope="module")
def contexts(browser):
    """The contexts of pages by their options. An empty page stays open in each: the browser opens others sooner."""
    opened = {}
    yield opened
    for context in opened.values():
        context.close()


@pytest.fixture
def show(browser, contexts, reports):
    """Yield a function that opens a page. Fail if a page fetched, logged or threw anything."""
    faults = []

    def open_page(name="default", **options):
        options = {**DESKTOP, **options}
        key = json.dumps(options, sort_keys=True)
        if key not in contexts:
            contexts[key] = browser.new_context(**options)
            contexts[key].new_page()
        page = contexts[key].new_page()
        page.on(
            "request",
            lambda request: (
                faults.append(request.url) if not request.url.startswith(("file:", "blob:", "data:")) else None
            ),
        )
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.goto(reports[name].as_uri())
        page.locator("html[data-ready]").wait_for(state="attached")
        return page

    yield open_page
    for context in contexts.values():
        for page in context.pages[1:]:
            page.close()
    assert faults == []


def marks(chart):
    """Return the sorted (x, y) of a chart's marks, in the coordinates of its SVG."""
    points = chart.locator("polyline.marks").evaluate_all(
        "all => all.filter(one => !one.matches('[data-part=rings]') && !one.style.marker.includes('ring'))"
        ".map(one => one.getAttribute('points'))"
    )
    pairs = [point.split(",") for part in points for point in part.split()]
    return sorted((round(float(x), 1), round(float(y), 1)) for x, y in pairs)


def settle(page):
    """Scroll to the table, which is drawn only near the view, and wait until it is up to date."""
    page.locator("#table, #compared").scroll_into_view_if_needed()
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


TOPS = """all => Object.fromEntries(all.map((text) => [text.textContent, text.getBBox().y]))"""


def texts(chart):
    return sorted(filter(None, chart.locator(".plot svg text").all_text_contents()))


def how(page, chart):
    """Return a chart's text on how to read it, in lower case."""
    return page.locator(f"#{chart.get_attribute('id')}-how").text_content().lower()


def size_chart(page):
    return page.locator("#by-size0")


def trade_off(page):
    return page.locator("#trade-off0")


@pytest.mark.parametrize("name", ["default", "tried", "hostile", "places", "compare"])
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_page_scrolls_sideways(show, name, device):
    page = show(name, **device)
    assert page.locator("html").get_attribute("data-ready") == "true"
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


WIDE = {"viewport": {"width": 1400, "height": 900}}
HIDDEN = """selector => [...document.querySelectorAll(selector)].filter(one => {
    const box = one.getBoundingClientRect(), around = one.closest('.scroll').getBoundingClientRect();
    return box.width && (box.right > around.right + 1 || box.left < around.left - 1);
}).map(one => one.textContent.trim())"""


@pytest.mark.parametrize("name", ["default", "tried", "own", "places", "three"])
def test_no_column_is_cut_off_on_desktop_or_paper(show, name):
    page = show(name, **WIDE)
    settle(page)
    assert page.evaluate(HIDDEN, "#table thead th, .ranking thead th") == []
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})
    assert page.evaluate(HIDDEN, "th, td") == []


CUT = """() => [...document.querySelectorAll('th, td, .name')].filter(cell =>
    cell.offsetParent && cell.scrollWidth > cell.clientWidth + 2).map(cell => cell.textContent.trim())"""


PLACED = "spatial-softmax, LSTM input 128 on strided(batch_norm=true) with lstm64"


@pytest.mark.parametrize(
    ("name", "options"),
    [("long", WIDE), ("long", PHONE), ("tried", PHONE), ("tried", {"viewport": {"width": 768, "height": 900}})],
    ids=["long-wide", "long-phone", "tried-phone", "tried-tablet"],
)
def test_no_name_is_cut_off(show, name, options):
    """Own models of one package used to look the same in every row, and sizes were cut off on a phone."""
    page = show(name, **options)
    settle(page)
    for head in page.locator("section[aria-labelledby=quality] .scroll th[scope=row]").all()[-3:]:
        head.evaluate("(head, words) => { head.textContent = words; }", PLACED)
    for tag in page.locator(".learnt .tag:not(.warn)").all():
        tag.evaluate("tag => tag.textContent = 'few seeds'")  # the longest word there, which lost its second half
    assert page.evaluate(CUT) == []


def test_a_phone_shows_each_case_beside_its_ratio(show):
    """A case's name used to be wrapped at five letters a line."""
    page = show("compare", **PHONE)
    assert page.evaluate(HIDDEN, "#compared td") == []
    assert page.locator("#compared tbody th").first.evaluate("cell => cell.clientWidth > 70")


def test_a_column_head_is_aligned_with_its_numbers(show):
    page = show("default", **WIDE)
    settle(page)
    right = """cell => {
        const words = document.createRange();
        words.selectNodeContents(cell.querySelector('button') ?? cell);
        return words.getBoundingClientRect().right;
    }"""
    for column in ("FLOPs", "Memory"):
        head = page.locator("#table thead th", has_text=column)
        place = head.evaluate("cell => cell.cellIndex")
        assert head.evaluate(right) == pytest.approx(
            page.locator("#table tbody tr").first.locator("td").nth(place - 1).evaluate(right), abs=2
        )


def test_a_long_name_stays_readable_on_a_narrow_screen(show):
    """An own model's name used to be wrapped at seven letters a line, and "tied" was cut off."""
    page = show("default", viewport={"width": 700, "height": 900})
    settle(page)
    page.evaluate("document.querySelector('.ranking tbody th').append('x'.repeat(80))")
    name = page.locator(".ranking tbody th").first
    assert name.evaluate("cell => cell.clientWidth > 250 && cell.clientHeight < 120")
    assert page.locator(".ranking .factor").first.evaluate("cell => cell.scrollWidth <= cell.clientWidth")


SMALLEST = (
    """all => Math.min(...all.map((text) => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a))"""
)


def test_a_phone_scrolls_a_figure_whose_letters_are_readable(show):
    """The letters used to be 7 pixels high, and those of long names 5."""
    phone, desktop = show(**PHONE), show(**DESKTOP)
    box = "#stages0 .plot"
    assert phone.locator(f"{box} svg text").evaluate_all(SMALLEST) > 8
    assert phone.locator(box).evaluate("box => box.scrollWidth > box.clientWidth")
    phone.locator(f"{box}[tabindex='0']").wait_for()
    desktop.locator(f"{box}[tabindex='-1']").wait_for()
    assert desktop.locator(box).evaluate("box => box.scrollWidth === box.clientWidth")


def test_a_phone_shows_latency_and_ties_without_scrolling(show):
    page = show("default", **PHONE)
    settle(page)
    assert page.evaluate(HIDDEN, ".ranking td:nth-child(-n+4), .ranking .tag") == []
    assert page.locator(".ranking .tag", has_text="tied").count() > 3
    assert page.evaluate(HIDDEN, "#table td:nth-child(-n+5)") == []


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci --prefix tests/browser")
@pytest.mark.parametrize("name", ["default", "tried", "hostile", "compare"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_of_any_rule(show, name, scheme):
    page = show(name, color_scheme=scheme, bypass_csp=True)
    if name != "compare":
        page.locator("#table tbody button.name").first.click()
        page.locator(".chip").first.click()
    page.add_script_tag(path=AXE)
    violations = page.evaluate("axe.run().then(all => all.violations)")
    assert [(violation["id"], violation["nodes"][0]["html"][:200]) for violation in violations] == []


def test_quality_has_a_section_and_stays_out_of_the_table(show):
    page = show("tried")
    quality = page.locator("section[aria-labelledby=quality]")
    assert quality.locator("figure.chart").count() == 4
    assert quality.locator("table").count() == 6
    rows = page.locator("#table tbody tr")
    settle(page)
    assert rows.count() == 7
    assert page.locator("#count").inner_text() == "7 of 13 cases: eager (chosen under Trade-offs)"
    for query, count in (("learn", 0), ("probe", 0), ("lstm128", 13)):
        page.get_by_label("Search").fill(query)
        settle(page)
        assert rows.count() == count
    page.locator(".chip", has_text=re.compile(r"^\s*gmp\s*$")).click()
    settle(page)
    assert rows.count() == 11
    page.get_by_label("Search").fill("")
    settle(page)
    assert rows.count() == 6


def test_hostile_names_are_shown_as_text(show):
    page = show("hostile")
    assert HOSTILE in page.locator("body").inner_text()
    assert page.locator("img").count() == 0
    page.locator("#table tbody button.name").first.click()
    assert page.locator("#pin h3").is_visible()


def test_an_injected_script_does_not_run(browser, reports):
    page = browser.new_page()
    page.goto(reports["default"].as_uri())
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    assert page.evaluate("window.ran") is None
    page.close()


def test_the_script_draws_the_same_charts_as_matplotlib(show):
    page = show()
    for chart in (size_chart(page), trade_off(page)):
        before, words = marks(chart), texts(chart)
        tops = chart.locator(".plot svg text").evaluate_all(TOPS)
        chart.get_by_role("button", name="Reset").click()
        assert chart.locator(".layer").count() == 1
        after = marks(chart)
        assert len(after) == len(before)
        assert all(
            abs(a - b) <= 0.15
            for mark, other in zip(before, after, strict=True)
            for a, b in zip(mark, other, strict=True)
        )
        assert texts(chart) == words
        assert chart.locator(".plot svg text").evaluate_all(TOPS) == pytest.approx(tops, abs=1)


@pytest.mark.parametrize(
    ("y", "x"),
    [("latency", "params"), ("memory", "flops"), ("flops", "cold"), ("latency", "frames_per_j"),
     ("frames_per_j", "params"), ("frames_per_j", "answers"), ("latency", "spins")],
)  # fmt: skip
def test_the_scripts_fronts_match_the_analysis(show, y, x):
    case_results = results(records.own_records())
    first = initial_view(case_results)
    across, up = case_results[0].metric(x), case_results[0].metric(y)
    able = [result for result in case_results if result in first and result.record.status == "ok"]
    able = [result for result in able if value(result, across) and value(result, up)]
    front = [result.case.id for members in fronts(able, across, up).values() for result in members]
    page = show("own")
    chart = trade_off(page)
    chart.get_by_label("Vertical").select_option(y)
    chart.get_by_label("Across").select_option(x)
    rings = chart.locator("polyline[style*=ring]")
    drawn = rings.get_attribute("points").split() if front else []
    assert len(drawn) == len(front)
    assert rings.count() == bool(front)
    assert len(marks(chart)) == len(able)


def test_axes_and_help_say_which_direction_is_better(show):
    page = show("own")
    chart = trade_off(page)
    assert "lower left is better" in how(page, chart)
    chart.get_by_label("Vertical").select_option("frames_per_j")
    chart.get_by_label("Across").select_option("latency")
    assert "Frames a joule · higher is better" in texts(chart)
    assert "Latency of a call · lower is better" in texts(chart)
    assert "upper left is better" in how(page, chart)
    assert chart.locator("figcaption").inner_text() == "Frames a joule against Latency of a call"
    assert any(text.endswith(" frames/J") for text in texts(chart))
    chart.get_by_label("Across").select_option("answers")
    assert "upper right is better" in how(page, chart)
    chart.get_by_label("Across").select_option("spins")
    assert "Spins" in texts(chart)
    assert not re.search("(left|right) is better", how(page, chart))
    chart.get_by_label("Across").select_option("answers")
    assert "upper right is better, hollow" in how(page, chart)


def test_a_users_metric_is_a_sortable_column_and_card_entry(show):
    page = show("own")
    head = page.locator("th[data-key=frames_per_j]")
    head.get_by_role("button").click()
    head.get_by_role("button").click()
    settle(page)
    cells = page.locator("#table tbody tr").first.locator("td").all_inner_texts()
    assert any(text.endswith(" frames/J") for text in cells)
    page.locator("#table tbody button.name").first.click()
    assert "Frames a joule" in page.locator("#pin").inner_text()


def test_choosing_another_cost_renames_the_chart(show):
    page = show()
    size_chart(page).get_by_label("Vertical").select_option("params")
    assert size_chart(page).locator("figcaption").inner_text() == "Parameters against LSTM input size"
    assert "Parameters · lower is better" in texts(size_chart(page))


def test_a_chip_removes_its_reducer_from_charts_and_table(show):
    page = show()
    before = len(marks(size_chart(page)))
    gap = page.locator(".chip", has_text=re.compile(r"^\s*gap\s*$"))
    gap.click()
    settle(page)
    assert gap.get_attribute("aria-pressed") == "false"
    fewer = len(marks(size_chart(page)))
    assert fewer < before
    assert len(marks(trade_off(page))) == fewer
    assert page.locator("#table tbody button.name", has_text=re.compile("^gap$")).count() == 0
    gap.click()
    settle(page)
    assert len(marks(size_chart(page))) == before


def test_selects_filter_by_variant_backbone_and_scenario(show):
    page = show()
    page.locator("select[data-filter=variant]").select_option("compile")
    settle(page)
    assert len(marks(size_chart(page))) == 12
    assert page.locator("#count").inner_text() == "12 of 67 cases: conv, compile, inference (chosen under Trade-offs)"
    page.locator("select[data-filter=variant]").select_option("")
    page.locator("select[data-filter=backbone]").select_option("conv(channels=8)")
    settle(page)
    assert page.locator("#table tbody tr").count() == 3
    page.locator("select[data-filter=backbone]").select_option("")
    page.locator("select[data-filter=scenario]").select_option("streaming")
    settle(page)
    assert page.locator("#table tbody tr").count() == 3


def test_layer_norm_is_chosen_by_words(show):
    """The choice used to be between 0 and 1."""
    page = show("normed")
    choice = page.locator("[data-filter=layer_norm]")
    assert choice.locator("option").all_inner_texts() == ["all", "without", "with"]
    assert choice.input_value() == "0"


def test_all_variants_are_panels_with_the_same_scales(show):
    page = show()
    page.locator("select[data-filter=variant]").select_option("")
    page.locator("select[data-filter=scenario]").select_option("inference")
    for chart in (size_chart(page), trade_off(page)):
        assert chart.locator("text.panel").all_text_contents() == [
            "eager", "channels_last", "channels_last+compile", "compile",
        ]  # fmt: skip
    chart = trade_off(page)
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
    page.keyboard.press("+")
    assert 0 < len(marks(chart)) < len(places)


def test_pointing_shows_a_case_and_clicking_pins_it(show):
    page = show()
    chart = size_chart(page)
    chart.scroll_into_view_if_needed()
    x, y = marks(chart)[-1]
    frame = chart.locator(".plot > svg").bounding_box()
    rate = frame["width"] / 440
    page.mouse.move(frame["x"] + x * rate, frame["y"] + y * rate)
    assert "flatten, LSTM input 131,072" in page.locator("#tip").inner_text()
    page.mouse.click(frame["x"] + x * rate, frame["y"] + y * rate)
    for pinned in (chart, trade_off(page)):
        assert pinned.locator(".cursor.pinned").get_attribute("visibility") == "visible"
    assert "convbench run suites/default.yaml --only" in page.locator("#pin").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#pin").is_visible()


def test_everything_works_by_keyboard(show):
    page = show()
    plot = size_chart(page).locator(".plot")
    plot.focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#tip").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text() != first
    page.keyboard.press("Enter")
    assert page.locator("#pin").is_visible()
    assert page.locator("#pin .close").evaluate("one => one === document.activeElement")
    page.keyboard.press("Enter")
    assert not page.locator("#pin").is_visible()
    assert plot.evaluate("one => one === document.activeElement")
    page.keyboard.press("+")
    assert size_chart(page).locator(".layer").count() == 1


def test_every_part_can_be_reached_by_tab(show):
    page = show()
    page.locator("body").focus()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
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
def test_the_table_is_at_most_25_tab_stops_away(show, name):
    stops = show(name).evaluate(STOPS)
    assert len(stops) <= 25, stops


@pytest.mark.parametrize("name", ["default", "compare"])
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_readers_larger_letters_are_respected(show, name, device):
    """Sizes were in pixels, so that the browser's setting had no effect."""
    page = show(name, **device)
    page.evaluate("document.documentElement.style.fontSize = '32px'")
    settle(page)
    sizes = page.evaluate("['p', 'h1', 'td', 'code'].map(tag => document.querySelector(tag)).filter(Boolean)"
                          ".map(one => parseFloat(getComputedStyle(one).fontSize))")  # fmt: skip
    assert min(sizes) >= 25
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    if page.locator(".skip").count():
        assert page.locator(".skip").evaluate("link => link.getBoundingClientRect().bottom") <= 0


@pytest.mark.parametrize("name", ["default", "compare"])
def test_every_tab_stop_shows_its_focus(show, name):
    """The heads of the compared table had no ring."""
    page = show(name)
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("getComputedStyle(document.activeElement).outlineStyle"))
        if page.evaluate("document.activeElement === document.body"):
            stops.pop()
            break
    assert len(stops) > 10
    assert "none" not in stops


def test_arrow_keys_go_through_the_reducers(show):
    page = show()
    chips = page.locator(".chip")
    chips.first.focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".legend .all").evaluate("one => one === document.activeElement")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert chips.nth(1).get_attribute("aria-pressed") == "false"
    assert page.locator(".legend [tabindex='0']").count() == 1


def test_dragging_zooms_and_double_click_resets(show):
    page = show()
    chart = trade_off(page)
    chart.scroll_into_view_if_needed()
    frame = chart.locator(".plot > svg").bounding_box()
    rate = frame["width"] / 440
    everything = len(marks(chart))
    page.mouse.move(frame["x"] + 60 * rate, frame["y"] + 190 * rate)
    page.mouse.down()
    page.mouse.move(frame["x"] + 150 * rate, frame["y"] + 320 * rate, steps=4)
    page.mouse.up()
    assert 0 < len(marks(chart)) < everything
    page.mouse.dblclick(frame["x"] + 300 * rate, frame["y"] + 200 * rate)
    assert len(marks(chart)) == everything
    page.mouse.move(frame["x"] + 60 * rate, frame["y"] + 190 * rate)
    page.mouse.down()
    page.mouse.move(1, 1)
    page.mouse.up()
    page.mouse.move(frame["x"] + 150 * rate, frame["y"] + 320 * rate)
    assert chart.locator("rect.drag").count() == 0, "the button is no longer pressed"


def test_a_tap_pins_a_mark_and_the_page_still_scrolls(show):
    page = show(**PHONE)
    chart = size_chart(page)
    chart.scroll_into_view_if_needed()
    x, y = marks(chart)[0]
    frame = chart.locator(".plot > svg").bounding_box()
    rate = frame["width"] / 440
    page.touchscreen.tap(frame["x"] + x * rate, frame["y"] + y * rate)
    assert page.locator("#pin").is_visible()
    assert chart.locator(".plot").evaluate("one => getComputedStyle(one).touchAction") != "none"


def test_the_table_is_the_same_without_script(show, browser, reports):
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(reports["default"].as_uri())
    assert plain.locator("figure.chart svg").count() == 11
    assert not plain.locator(".controls").first.is_visible()
    step = plain.locator(".next li").first
    assert "--out {RUN}-visits-3 (RUN is where this run is stored)" in " ".join(step.inner_text().split())
    rows = [row for row in plain.locator("#table tbody tr").all_text_contents() if "streaming" not in row]
    context.close()
    page = show()
    for name in ("variant", "backbone"):
        page.locator(f"select[data-filter={name}]").select_option("")
    settle(page)
    drawn = page.locator("#table tbody tr").all_text_contents()
    assert len(drawn) == len(rows) > 50
    assert ["".join(row.removesuffix("Copy").replace("!", "").split()) for row in drawn] == [
        "".join(row.split()) for row in rows
    ]


def test_a_page_outside_the_run_names_no_run_folder(show):
    page = show("elsewhere")
    step = page.locator(".next li").first
    assert "--out RUN-visits-3 Copy (RUN is where this run is stored)" in " ".join(step.inner_text().split())
    assert page.locator("#budget code").inner_text() == "convbench advise RUN"


def test_the_table_sorts_by_column_and_searches_by_word(show):
    page = show()
    head = page.locator("th[data-key=params]")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.locator("th[data-key=latency]").get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("#table tbody tr").first.inner_text().lstrip().startswith("fc(activation=true)")
    page.get_by_label("Search").fill("GAP compile")
    settle(page)
    assert set(page.locator("#table tbody button.name").all_inner_texts()) == {"gap"}


def test_downloads_hold_the_runs_figures(show):
    page = show()
    run_records = records.default_records()
    table_rows = [table.row_of(result(record)) for record in run_records]
    rows = {}
    for kind in ("csv", "json"):
        with page.expect_download() as caught:
            page.locator(f"#{kind}").click()
        assert caught.value.suggested_filename == f"default.{kind}"
        rows[kind] = Path(caught.value.path()).read_text("utf-8")
    as_csv, as_json = list(csv.DictReader(io.StringIO(rows["csv"]))), json.loads(rows["json"])
    assert list(as_csv[0])[: len(table.COLUMNS)] == list(table.COLUMNS)
    for row, line, entry in zip(table_rows, as_csv, as_json, strict=True):
        assert entry["case"] == line["case"] == row["case"]
        assert entry["macs"] == row["macs"]
        assert line["params"] == ("" if row["params"] is None else str(row["params"]))
        median = row["latency_s_median"]
        assert entry["latency_s_median"] == (median and pytest.approx(median, rel=1e-5))


def downloaded(page, kind):
    with page.expect_download() as caught:
        page.locator(f"[data-export={kind}]").click()
    assert caught.value.suggested_filename == f"default-shown.{kind}"
    text = Path(caught.value.path()).read_text("utf-8")
    assert text.startswith("\ufeff") == (kind == "csv")  # with this mark, Excel decodes µ and ×
    return text.removeprefix("\ufeff")


def test_an_export_holds_the_shown_rows_in_their_order(show):
    page = show()
    page.get_by_label("Search").fill("compile")
    page.locator("th[data-key=params]").get_by_role("button").click()
    page.locator(".chip").nth(2).click()
    settle(page)
    text = "cell => (cell.querySelector('.name') ?? cell).textContent.trim()"
    rows = page.locator("#table tbody tr").evaluate_all(
        f"all => all.map(row => [...row.cells].slice(0, -1).map({text}))"
    )
    heads = page.locator("#table thead th[data-key]").all_inner_texts()
    heads = [head.strip(" ▲▼") for head in heads]
    assert len(rows) > 10
    assert list(csv.reader(io.StringIO(downloaded(page, "csv")))) == [heads, *rows]
    marked = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in downloaded(page, "md").splitlines()]
    assert [[re.sub(r"\\(.)", r"\1", cell) for cell in line] for line in [marked[0], *marked[2:]]] == [heads, *rows]
    latex = downloaded(page, "tex").splitlines()
    assert latex[1] == rf"\begin{{tabular}}{{{'lrrrrll' + 'r' * (len(heads) - 7)}}}"
    assert latex[-2:] == [r"\bottomrule", r"\end{tabular}"]
    body = latex[5:-2]
    assert len(body) == len(rows)
    assert all(line.count(" & ") == len(heads) - 1 and line.endswith(r" \\") for line in body)
    assert not re.search(r"(?<!\\)[_%#]|×|µ", "".join(body))


def test_the_copy_button_copies_the_rows_command(show):
    page = show(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("Search").fill("flatten compile channels_last+compile")
    settle(page)
    page.locator("#table tbody tr button", has_text="Copy").first.click()
    page.get_by_text("Copied").wait_for()
    case_id = "conv/flatten/131072/lstm128/1x16x3x64x64/channels_last+compile/inference/cpu"
    row = 1 + [record.case.id for record in records.default_records()].index(case_id)
    command = f"convbench run suites/default.yaml --only {case_id} --out reports/again/default-{row}"
    assert page.evaluate("navigator.clipboard.readText()") == command


def test_a_print_is_white_even_from_a_dark_screen(show):
    page = show(color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)" != dark
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 33, 40)"
    assert not page.locator(".controls").first.is_visible()
    assert len(page.pdf(format="A4")) > 10_000


def test_a_print_has_every_row_and_the_folded_text(show):
    page = show("many")
    settle(page)
    rows = page.locator("#table tbody tr")
    assert rows.count() == 100
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert rows.count() == 1600
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert rows.count() == 100
    page = show("default")
    page.emulate_media(media="print")
    assert page.get_by_text("costs 20× the FLOPs").is_visible()
    assert page.locator(".reading .how").first.is_visible()
    assert not page.locator("#budget").is_visible()


def test_a_print_says_which_cases_it_shows_at_full_width(show):
    page = show("default")
    settle(page)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})
    assert page.locator("#count").is_visible() and page.locator("#selects").get_by_text("Variant").is_visible()
    assert not page.get_by_label("Search").is_visible()
    assert page.locator("#method ~ details pre").bounding_box()["width"] > 600
    assert page.locator("figure.chart").first.bounding_box()["width"] > 320
    assert page.locator(".facts dt").first.bounding_box()["width"] > 160  # as wide as OPENBLAS_NUM_THREADS


def test_some_parts_show_only_on_paper_or_only_on_screen(show):
    page = show("default")
    drawn = """['paper', 'unprinted'].map(name => {
        const made = document.body.appendChild(document.createElement('p'));
        made.className = name;
        return getComputedStyle(made).display;
    })"""
    assert page.evaluate(drawn) == ["none", "block"]
    page.emulate_media(media="print")
    assert page.evaluate(drawn) == ["block", "none"]


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci --prefix tests/browser")
@pytest.mark.parametrize("name", ["default", "tried", "compare"])
def test_axe_finds_nothing_in_print(show, name):
    page = show(name, bypass_csp=True)
    page.emulate_media(media="print")
    page.add_script_tag(path=AXE)
    violations = page.evaluate("axe.run().then(all => all.violations)")
    assert [(violation["id"], violation["nodes"][0]["html"][:200]) for violation in violations] == []


@pytest.mark.parametrize("width", [1400, 768, 420])
def test_three_runs_are_columns_that_fit_a_desktop(show, width):
    page = show("three", viewport={"width": width, "height": 900})
    heads = page.locator("#compared thead th").all_inner_texts()
    assert heads == ["Case", "Backbone, scenario", "A", "B", "B over A", "C", "C over A"]
    if width > 1000:
        assert page.evaluate(HIDDEN, "#compared th, #compared td") == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_thousands_of_marks_are_a_bitmap_only_on_screen(show):
    page = show("many")
    chart = size_chart(page)
    assert len(marks(chart)) == 1600
    chart.get_by_role("button", name="Reset").click()
    assert marks(chart) == []
    drawn = "one => one.getContext('2d').getImageData(0, 0, one.width, one.height).data.filter(value => value).length"
    assert chart.locator("canvas").evaluate(drawn) > 10_000
    assert chart.locator("canvas").bounding_box() == pytest.approx(chart.locator(".plot > svg").bounding_box(), abs=1)
    page.locator(".chip").first.click()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert 1400 < len(marks(chart)) < 1600
    assert not chart.locator("canvas").is_visible()


def test_the_compared_table_sorts_and_searches(show):
    page = show("compare")
    page.locator("#compared th", has_text="B over A").get_by_role("button").click()
    rows = page.locator("#compared tbody tr")
    ratios = [float(text) for text in rows.evaluate_all("all => all.map(row => row.cells[4].dataset.v)")]
    assert ratios == sorted(ratios)
    page.evaluate("document.querySelector('#compared tbody tr').cells[4].dataset.v = ''")
    for _ in range(2):  # a missing ratio comes last in both directions
        page.locator("#compared th", has_text="B over A").get_by_role("button").click()
        assert rows.last.evaluate("row => row.cells[4].dataset.v") == ""
    count = page.locator("[data-count=compared]")
    assert count.inner_text() == "67 of 67 shared cases"
    page.get_by_label("Search").fill("flatten")
    assert page.locator("#compared tbody tr:visible").count() == 5
    assert count.inner_text() == "5 of 67 found"
    page.get_by_label("Search").fill("compile HYBRID")
    assert page.locator("#compared tbody tr:visible").count() == 2
    page.get_by_label("Search").fill("")
    assert count.inner_text() == "67 of 67 shared cases"
    assert (
        page.locator(".banner")
        .inner_text()
        .startswith("Careful. These runs were not made under the same conditions: PyTorch")
    )


def saved(page, button):
    with page.expect_download() as caught:
        page.locator(button).click()
    return caught.value.suggested_filename, Path(caught.value.path()).read_text("utf-8-sig")


def test_an_exported_comparison_keeps_its_search_and_order(show):
    page = show("three")
    page.get_by_label("Search").fill("compile HYBRID")
    page.locator("#compared th", has_text="C over A").get_by_role("button").click()
    rows = page.locator("#compared tbody tr:visible").evaluate_all(
        "all => all.map(row => [...row.cells].map(cell => cell.textContent.trim().replace(/\\s+/g, ' ')))"
    )
    name, text = saved(page, "[data-export=csv]")
    assert name == "default-compared-shown.csv"
    heads, *lines = csv.reader(io.StringIO(text))
    assert (heads[:5], lines) == (["Case", "Backbone, scenario", "A", "B", "B over A"], rows)
    assert len(rows) == 2
    assert saved(page, "[data-export=md]")[1].count("\n") == 4
    assert saved(page, "[data-export=tex]")[1].splitlines()[1] == r"\begin{tabular}{llrrrrr}"
    name, text = saved(page, "[data-all]")
    every = list(csv.DictReader(io.StringIO(text)))
    assert (name, len(every)) == ("default-compared.csv", 67)
    assert all(float(row["B_over_A_median"]) == 1 for row in every)


def test_a_link_keeps_the_order_of_the_table(show, browser):
    page = show()
    head = "th[data-key=params]"
    page.locator(head).get_by_role("button").click()
    page.locator(head).get_by_role("button").click()
    settle(page)
    assert "sort=-params" in page.url
    other = browser.new_page()
    other.goto(page.url)
    settle(other)
    assert other.locator(head).get_attribute("aria-sort") == "descending"
    assert other.locator("#table tbody tr").all_inner_texts() == page.locator("#table tbody tr").all_inner_texts()
    other.close()
    page.locator("th[data-key=latency]").get_by_role("button").click()
    settle(page)
    assert "sort=" not in page.url


def test_the_first_screen_holds_decision_confidence_command_and_figures(show):
    page = show("tried")
    assert page.locator("h1").inner_text().startswith("Identity: take gmp at LSTM input 32")
    low = page.locator("h1").evaluate(
        "one => one.getBoundingClientRect().height / parseFloat(getComputedStyle(one).lineHeight)"
    )
    assert low <= 3
    page = show("default")
    for part in ("h1", ".sure", ".next li >> nth=0", "#reducers0", "#curve0", "#budget"):
        assert page.locator(part).evaluate("one => one.getBoundingClientRect().top < innerHeight - 200"), part


def test_a_next_command_names_the_run_folder_and_is_copied(show, reports):
    page = show(permissions=["clipboard-read", "clipboard-write"])
    step = page.locator(".next li").first
    place = reports["default"].parent
    assert step.locator("code").inner_text().endswith(f"protocol.visits=3 --out {place}-visits-3")
    assert not page.get_by_text("is where this run is stored").first.is_visible()
    step.get_by_role("button").click()
    step.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == step.locator("code").inner_text()
    assert "{RUN}" not in "".join(page.locator("button.copy").evaluate_all("all => all.map(one => one.ariaLabel)"))


def test_a_next_command_quotes_a_folder_with_odd_characters(show, reports):
    place = f"{reports['odd'].parent}-visits-3"
    words = shlex.split(show("odd").locator(".next code").first.inner_text())
    assert words == ["convbench", "run", "RUN.yaml", "protocol.visits=3", "--out", place]
    call = ast.parse(show("called").locator(".next code").first.inner_text(), mode="eval").body
    assert [ast.literal_eval(argument) for argument in call.args] == ["RUN.yaml"]
    assert {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}["out"] == place
    budget = shlex.split(show("called").locator("#budget code").inner_text())
    assert budget == ["convbench", "advise", str(reports["odd"].parent)]


def test_a_link_keeps_reducers_with_odd_names_hidden(show):
    page = show("odd")
    page.locator(".chip", has_text="a|b").click()
    settle(page)
    other = page.context.new_page()
    other.goto(page.url)
    other.locator("html[data-ready]").wait_for(state="attached")
    assert other.locator(".chip[aria-pressed=false]").all_inner_texts() == [" a|b"]


def limit(page, name, at):
    page.locator(f"#limit-{name}").evaluate(
        "(one, at) => { one.value = at; one.dispatchEvent(new Event('input')); }", at
    )


def test_the_budget_answers_like_advise_and_draws_its_limits(show, reports):
    from convbench.analysis.choice.by_task import recommendations
    from convbench.analysis.choice.recommendation import Ask
    from convbench.core.quantities import amount
    from convbench.report.words import advice

    page = show("tried")
    limits = page.evaluate("JSON.parse(document.getElementById('data').textContent).budget.limits")
    for latency, memory in ((2, 9), (3, 0), (0, 2), (15, 9), (10, 1)):
        limit(page, "latency", latency)
        limit(page, "memory", memory)
        command = page.locator("#budget code").inner_text().split()
        options = dict(zip(command[3::2], command[4::2], strict=True))
        bounds = {name.removeprefix("--"): amount(name, text, {"--latency": "s", "--memory": "B"}[name])
                 for name, text in options.items()}  # fmt: skip
        assert bounds == {name: limits[name][at][0] for name, at in (("latency", latency), ("memory", memory))
                         if at < len(limits[name])}  # fmt: skip
        answers = recommendations(records.tried_records(), Ask(bounds))
        expected = [" ".join(advice.sentences(answer)[:2]) if answer.pick else f"{answer.task}: none meets the limits."
                  for answer in answers]  # fmt: skip
        assert page.locator("#budget-answer button").count() == sum(answer.pick is not None for answer in answers)
        sentences = page.locator("#budget-answer p").evaluate_all("all => all.map(one => one.firstChild.textContent)")
        assert sentences == expected
    assert trade_off(page).locator("path.limit").count() == 2
    assert page.locator("#curve0 path.limit, #reducers0 path.limit").count() == 2


def test_without_quality_the_budget_answers_by_cost_like_advise(show):
    from convbench.analysis.choice.by_budget import answer_within
    from convbench.report.words.budget import fitting

    page = show("default")
    limits = page.evaluate("JSON.parse(document.getElementById('data').textContent).budget.limits")
    case_results = results(records.default_records())
    for latency, memory in ((0, 0), (1, 8), (3, 2), (10, 9), (len(limits["latency"]), len(limits["memory"]))):
        limit(page, "latency", latency)
        limit(page, "memory", memory)
        bounds = {name: limits[name][at][0] for name, at in (("latency", latency), ("memory", memory))
                 if at < len(limits[name])}  # fmt: skip
        sentence = page.locator("#budget-answer p").evaluate("one => one.firstChild.textContent")
        assert sentence == fitting(answer_within(case_results, bounds), is_limited=bool(bounds))


def test_cases_on_several_threads_can_be_distinguish(show):
    """Every row, mark and tip used to appear twice in the same words, with different milliseconds."""
    page = show("places")
    settle(page)
    select = page.locator("select[data-filter=threads]")
    assert select.locator("option").all_inner_texts() == ["all", "1", "2"]
    assert select.input_value() == "1"
    assert page.locator("#table tbody tr").count() == 3
    count = page.locator("#count")
    assert count.inner_text() == "3 of 12 cases: 1 thread, 1x16x3x64x64 (chosen under Trade-offs)"
    select.select_option("2")
    settle(page)
    heads = page.locator("#table thead th").all_inner_texts()
    at = next(i for i, head in enumerate(heads) if head.strip().startswith("Threads"))
    rows = page.locator("#table tbody tr").evaluate_all(
        "all => all.map(one => [...one.cells].map(cell => cell.textContent))"
    )
    assert [row[at] for row in rows] == ["2", "2", "2"]
    assert "cases: 2 threads, 1x16x3x64x64 (chosen" in count.inner_text()
    page.locator("#table tbody button.name").first.click()
    assert "· cpu · 1x16x3x64x64 · 2 threads" in page.locator("#pin p").first.inner_text()
    select.select_option("")
    settle(page)
    assert len(marks(size_chart(page))) == 6
    assert "threads=all" in page.url


def test_the_crossover_size_is_shown_only_for_its_clip(show):
    """The size used to stay when another clip was chosen, although that clip's size differs."""
    page = show("places")

    def is_said():
        return any(text.startswith("LSTM = conv FLOPs at D = ") for text in texts(size_chart(page)))

    clip = page.locator("select[data-filter=clip]")
    assert is_said()
    clip.select_option("1x16x3x128x128")
    settle(page)
    assert not is_said()
    clip.select_option("1x16x3x64x64")
    settle(page)
    assert is_said()
    page.locator("select[data-filter=threads]").select_option("2")
    settle(page)
    assert is_said()


def test_a_users_models_are_rows_beside_the_reducers(show):
    """The first view used to filter by backbone. These models have none, so they were in no chart and no row."""
    page = show("beside")
    assert page.locator("#table tbody tr").count() == 4
    page.locator("select[data-filter=model]").select_option("net:other")
    settle(page)
    assert page.locator("#table tbody tr").count() == 3


def test_a_link_opens_the_page_as_it_was(show, reports, browser):
    page = show()
    page.locator("select[data-filter=variant]").select_option("compile")
    page.locator(".chip").nth(1).click()
    size_chart(page).get_by_label("Vertical").select_option("params")
    page.get_by_label("Search").fill("conv compile")
    limit(page, "latency", 2)
    settle(page)
    page.locator("#table tbody button.name").nth(2).click()
    name = page.locator("#pin h3").inner_text()
    settle(page)
    link = page.url
    assert "#case=conv/" in link
    other = browser.new_page()
    other.goto(link)
    settle(other)
    assert other.locator("#pin h3").inner_text() == name
    assert other.locator("select[data-filter=variant]").input_value() == "compile"
    assert other.locator(".chip[aria-pressed=false]").count() == 1
    assert size_chart(other).locator("figcaption").inner_text() == "Parameters against LSTM input size"
    assert other.locator("#table tbody tr").count() == page.locator("#table tbody tr").count()
    assert other.locator("#limit-latency").input_value() == "2"
    other.locator("#pin .close").click()
    settle(other)
    assert "case=" not in other.url
    other.close()


def test_a_link_with_invalid_values_opens_the_default_page(browser, reports):
    page = browser.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(
        f"{reports['default'].as_uri()}#case=no/such&variant=none&by-size0.y=<b>&max-latency=-1&hide=x&sort=-none"
    )
    assert page.locator("html").get_attribute("data-ready") == "true"
    assert "This page has no measured case no/such." in page.locator("#pin").inner_text()
    page.locator("#pin .close").click()
    assert not page.locator("#pin").is_visible()
    assert len(marks(size_chart(page))) == 22
    assert faults == []
    page.close()


def test_the_pinned_card_shows_samples_by_visit_and_percentiles(show):
    page = show()
    page.locator("#table tbody button.name").first.click()
    card = page.locator("#pin")
    assert card.locator("svg.visits path.visit").count() == 1
    assert "p90" in card.inner_text()
    assert card.locator("svg.visits").get_attribute("aria-label") == "Latency by visit: 60 samples in 1 visit"


def test_a_link_without_the_pinned_case_unpins_it(show):
    page = show()
    page.locator("#table .name").first.click()
    assert page.locator("#pin").is_visible()
    page.evaluate("location.hash = '#case=no/such'")
    page.locator("#pin").get_by_text("No such case here").wait_for()
    assert page.locator("#table .pinned").count() == 0
    page.evaluate("location.hash = '#variant=all'")
    page.locator("#pin").wait_for(state="hidden")


def test_a_link_shows_what_it_says_whatever_was_chosen_before(show):
    """A pasted link used to leave what it does not name: filters, hidden reducers, axes, limits, search, order."""
    page = show()
    names = page.locator("#table tbody button.name").all_inner_texts()
    page.locator("select[data-filter=variant]").select_option("compile")
    page.locator(".chip").first.click()
    size_chart(page).get_by_label("Vertical").select_option("params")
    page.get_by_label("Search").fill("compile")
    page.locator("th[data-key=params]").get_by_role("button").click()
    limit(page, "latency", 2)
    settle(page)
    page.evaluate("location.hash = '#device=cpu'")
    page.locator("select[data-filter=variant]").locator("option:checked", has_text="eager").wait_for(state="attached")
    settle(page)
    assert page.locator("#table tbody button.name").all_inner_texts() == names
    assert page.locator(".chip[aria-pressed=false]").count() == 0
    assert "Latency" in size_chart(page).locator("figcaption").inner_text()
    assert page.locator("output[for=limit-latency]").inner_text() == "no limit"
    assert page.locator("th[data-key=latency]").get_attribute("aria-sort") == "ascending"
    assert page.url.partition("#")[2] in ("", "device=cpu")


def test_a_pinned_card_names_the_head_if_cases_differ_in_it(show):
    page = show("headed")
    for head in ("4", "10"):
        page.locator("select[data-filter=head]").select_option(head)
        settle(page)
        assert page.locator("#count").inner_text() == f"1 of 2 cases: head {head} (chosen under Trade-offs)"
        page.locator("#table tbody button.name").click()
        assert page.locator("#pin p").first.inner_text() == f"conv · eager · inference · cpu · head {head}"


def test_a_copied_table_has_no_hidden_words(show):
    page = show()
    copied = page.evaluate(
        "getSelection().selectAllChildren(document.querySelector('.ranking')) ?? `${getSelection()}`"
    )
    assert "Parameters\t" in copied and "the pick" not in copied
