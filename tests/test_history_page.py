"""The page of a history in a real browser: everything is there, nothing is fetched, logged or cut off."""

from __future__ import annotations

from pathlib import Path

import invented_runs as invented
import pytest

from convbench.analysis.history import overview
from convbench.analysis.history.overview import Question
from convbench.report.page import history as page

AXE = Path(__file__).parent / "browser" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    at = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(at / "cache"))
        return page.write(overview.history(Question((invented.many(at / "store"),))), at / "page.html")


def test_a_reader_sees_the_change_sorts_and_searches(browser, written):
    for width in (1400, 390):
        seen: list[str] = []
        shown = browser.new_page(viewport={"width": width, "height": 900}, bypass_csp=True)
        shown.on("console", lambda message, seen=seen: seen.append(message.text))
        shown.on("pageerror", lambda error, seen=seen: seen.append(str(error)))
        shown.on("request", lambda request, seen=seen: seen.append(request.url) if "http" in request.url else None)
        shown.goto(written.as_uri())
        shown.locator("html[data-ready]").wait_for(state="attached")
        assert shown.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert shown.locator("section:has(#changes) .tag").all_text_contents() == ["suspected"]
        first = shown.locator("figure.chart").first
        assert any("suspected" in text for text in first.locator("svg text").all_text_contents())
        rows = shown.locator("#every tbody tr")
        shown.locator("#every thead button", has_text="Level now").click()
        assert "gap" in rows.first.text_content()
        shown.locator("[data-search=every]").fill("fc")
        assert shown.locator("[data-count=every]").text_content() == "1 of 2 found"
        if AXE.exists():
            shown.add_script_tag(path=AXE)
            assert shown.evaluate("axe.run().then(all => all.violations.map(one => one.id))") == []
        assert seen == []
