"""Test the history page in a real browser: it is complete, and nothing is fetched, logged or cut off."""

from __future__ import annotations

from pathlib import Path

import invented_runs as invented
import pytest

from convbench.analysis.history import overview
from convbench.analysis.history.overview import HistoryQuery
from convbench.report.page import history as page

AXE = Path(__file__).parent / "browser" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    at = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(at / "cache"))
        return page.write(overview.history(HistoryQuery((invented.many(at / "store"),))), at / "page.html")


def test_a_reader_sees_the_change_sorts_and_searches(browser, page_path):
    for width in (1400, 390):
        events: list[str] = []
        browser_page = browser.new_page(viewport={"width": width, "height": 900}, bypass_csp=True)
        browser_page.on("console", lambda message, events=events: events.append(message.text))
        browser_page.on("pageerror", lambda error, events=events: events.append(str(error)))
        browser_page.on(
            "request", lambda request, events=events: events.append(request.url) if "http" in request.url else None
        )
        browser_page.goto(page_path.as_uri())
        browser_page.locator("html[data-ready]").wait_for(state="attached")
        assert browser_page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert browser_page.locator("section:has(#changes) .tag").all_text_contents() == ["suspected"]
        first = browser_page.locator("figure.chart").first
        sizes = first.locator("svg [font-size]").evaluate_all("all => all.map(one => one.getAttribute('font-size'))")
        assert min(float(size.removesuffix("px")) for size in sizes) >= 9  # 8 pixels and more on a phone
        assert any("suspected" in text for text in first.locator("svg text").all_text_contents())
        rows = browser_page.locator("#every tbody tr")
        browser_page.locator("#every thead button", has_text="Level now").click()
        assert "gap" in rows.first.text_content()
        browser_page.locator("[data-search=every]").fill("fc")
        assert browser_page.locator("[data-count=every]").text_content() == "1 of 2 found"
        if AXE.exists():
            browser_page.add_script_tag(path=AXE)
            assert browser_page.evaluate("axe.run().then(all => all.violations.map(one => one.id))") == []
        assert events == []
