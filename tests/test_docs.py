"""The documentation: every page works as it says, the site's links lead somewhere, and it reads without a network."""

import dataclasses
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import forked
import pytest
from docs_page import blocks, commands, follow, runs
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "convbench"
PAGES = sorted(DOCS.rglob("*.md"))
RUN = [ROOT / "README.md", *(page for page in PAGES if any(runs(block) for block in blocks(page)))]
READ = [ROOT / "CONTRIBUTING.md", *(page for page in PAGES if page not in RUN)]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# --- What the pages say -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name)
def test_everything_on_a_page_works(page, tmp_path):
    """Each page's files, suites and commands run in a separate process, because some register plug-ins."""
    done = forked.python(
        Path(__file__).with_name("docs_page.py"), page, cwd=tmp_path, env=os.environ | {"COLUMNS": "120"}
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", READ, ids=name)
def test_everything_that_a_page_names_exists(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    follow(page)


@pytest.mark.parametrize("page", [*RUN, *READ], ids=name)
def test_a_pages_links_also_work_in_the_repository(page):
    """Links to the reference are left out, because it is written when the site is built."""
    links = re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", page.read_text())
    assert [link for link in links if "reference/" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```sh\nconvbench run smoke --no-such-option\n```\n", "--no-such-option"),
        ("```sh\nconvbench measure smoke\n```\n", "measure"),
        ("```sh\nexport A=1; convbench fits smoke --mem 1GB | tail\n```\n", "--mem"),
        ("```python\nimport convbench\nconvbench.no_such_name\n```\n", "no_such_name"),
        ("```yaml\nprotocol: {max_tim: 1}\n```\n", "max_tim"),
    ],
)
def test_a_page_that_names_what_does_not_exist_fails(text, fault, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(Exception, match=re.escape(fault)):
        follow(page)


def test_the_architecture_page_draws_the_import_rule_that_is_tested():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    drawn = next(block.text for block in blocks(DOCS / "architecture.md") if "models, suite" in block.text)
    assert [line.strip() for line in drawn.splitlines()] == [layer.replace(" |", ",") for layer in layers]
    rooms = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "architecture.md").read_text(), re.MULTILINE))
    assert rooms == {path.parent.name for path in (ROOT / "convbench").glob("*/__init__.py")}


def test_the_architecture_page_names_files_and_functions_that_exist():
    places = re.findall(r"`([\w/]+\.py)`(?:: (`[\w.]+`(?:, `[\w.]+`)*))?", (DOCS / "architecture.md").read_text())
    files = ["/" + path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]
    assert [place for place, _ in places if not any(file.endswith(f"/{place}") for file in files)] == []
    definitions = [
        (place, name, set(re.findall(r"^ *(?:def|class) (\w+)", (PACKAGE / place).read_text(), re.MULTILINE)))
        for place, names in places
        for name in re.findall(r"[\w.]+", names)
    ]
    assert [place for place in definitions if not set(place[1].split(".")) <= place[2]] == []


def test_the_history_page_shows_what_history_prints():
    printed = (ROOT / "tests" / "golden" / "history.txt").read_text().replace("--store store", "--store runs")
    shown = next(block.text for block in blocks(DOCS / "how-to" / "history.md") if block.text.startswith("Latency"))
    assert shown.strip() == printed.strip()


@pytest.mark.parametrize("rnn", ["lstm8", "bilstm8x2", "gru8", "lstm8p3"])
def test_the_metric_recipe_counts_the_bytes_that_torch_carries(rnn):
    from convbench.core.record import Case, Choice, Clip, Parts, Protocol
    from convbench.models.subject import assemble
    from convbench.models.values import tensors
    from convbench.suite.axes import RecurrentLayout

    recipe = next(block.text for block in blocks(DOCS / "recipes" / "metric.md") if block.title)
    exec(recipe.replace('@probes.register("state")\n', ""), shop := {"__name__": "shop"})
    (shape,) = RecurrentLayout.model_validate(rnn).shape()
    subject = assemble(Case(Parts(Choice("conv"), Choice("gap"), rnn=shape), Clip(3, 2, 3, 8, 8)), 0)
    (reading,) = shop["state"](subject, Protocol())
    assert reading.samples == (sum(tensor.nbytes for tensor in tensors(subject.run()[1])),)


def test_the_variant_recipe_names_every_field_of_its_traits():
    from convbench.core.traits import VariantTraits

    text = (DOCS / "recipes" / "variant.md").read_text()
    assert all(f"| `{field.name}` |" in text for field in dataclasses.fields(VariantTraits))


def test_a_model_is_exported_from_the_whole_suites_run():
    """A second run of a suite into the same directory sets the first one aside."""
    page = [words for block in blocks(DOCS / "how-to" / "deploy.md") for words in commands(block.text)]
    (exported,) = (words for words in page if words[0] == "export-model")
    (run,) = (words for words in page if words[0] == "run" and "--out" not in words)
    assert exported[exported.index("--run") + 1] == f"reports/{run[1]}"
    assert run[2:] == []


def history_of_workflow() -> list[str]:
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "latency.yml")
    return [step["run"] for step in workflow["jobs"]["history"]["steps"] if step.get("name") == "Measure"]


def history_of_gitlab() -> list[str]:
    recipe = next(block for block in blocks(DOCS / "how-to" / "ci-gate.md") if block.title == ".gitlab-ci.yml")
    return [line for line in YAML(typ="safe").load(recipe.text)["history"]["script"] if "pip install" not in line]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "ends"), [(0, 0), (5, 0), (2, 2)])
@pytest.mark.parametrize("script", [history_of_workflow, history_of_gitlab])
def test_the_ci_recipes_keep_a_run_with_a_failed_case(script, code, ends):
    """An invented convbench runs in a shell that ends at the first failed command, as in CI."""
    invented = f"convbench() {{ case $1 in run) return {code} ;; esac; }}"
    done = subprocess.run(["bash", "-e", "-c", "\n".join([invented, *script()])], check=False)
    assert done.returncode == ends


def test_the_ci_recipes_compare_with_the_branch_point():
    """Otherwise others' later merges count as this change: a re-run of an old branch was red for their speed-up."""
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "latency.yml")["jobs"]["check"]["steps"]
    recipe = next(block for block in blocks(DOCS / "how-to" / "ci-gate.md") if block.title == ".gitlab-ci.yml")
    scripts = "\n".join(step.get("run", "") for step in workflow), recipe.text
    assert all("...HEAD" in script for script in scripts)


@pytest.mark.slow
def test_a_red_check_says_why_in_its_annotation(tmp_path):
    """GitHub showed only "Process completed with exit code 1" beside the pull request."""
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "latency.yml")["jobs"]["check"]["steps"]
    (script,) = (step["run"] for step in workflow if step.get("name") == "Compare with base")
    variables = {"SUITE": "s", "BASE": "main", "GITHUB_STEP_SUMMARY": str(tmp_path / "step.md")}
    invented = "convbench() { echo '### convbench check: 1 regression' > check.md; return 1; }"
    words = ["bash", "-e", "-c", f"{invented}\n{script}"]
    done = subprocess.run(words, check=False, cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "::error::convbench check: 1 regression\n")


def test_a_merge_queue_gets_the_check_that_it_waits_for():
    """Its event has no base_ref: if the branch required the check, nothing was merged."""
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "latency.yml")
    check = workflow["jobs"]["check"]
    assert {"pull_request", "merge_group", "push"} == set(workflow["on"])
    assert check["if"] == "github.event_name != 'push'"
    assert check["env"]["BASE"] == "${{ github.event.merge_group.base_sha || github.base_ref }}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "base"),
    [
        ({"CI_MERGE_REQUEST_DIFF_BASE_SHA": "b1"}, "b1...HEAD"),
        ({"CI_MERGE_REQUEST_DIFF_BASE_SHA": "b1", "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": "t2"}, "t2...HEAD"),
    ],
)
def test_gitlab_compares_a_fork_with_its_own_branch_point_and_a_train_with_what_it_joins(variables, base):
    """In a fork's pipeline, origin is the fork, whose main may be old: others' commits counted as the change."""
    recipe = next(block for block in blocks(DOCS / "how-to" / "ci-gate.md") if block.title == ".gitlab-ci.yml")
    script = [line for line in YAML(typ="safe").load(recipe.text)["latency"]["script"] if "pip install" not in line]
    words = ["bash", "-e", "-c", "\n".join(['convbench() { echo "$4"; }', *script])]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CI_")} | variables
    assert subprocess.run(words, check=True, env=environment, capture_output=True, text=True).stdout == f"{base}\n"


@pytest.mark.slow
def test_a_check_without_a_table_replaces_the_earlier_table(tmp_path):
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "latency.yml")["jobs"]["check"]["steps"]
    (script,) = (step["run"] for step in workflow if step.get("name") == "Compare with base")
    variables = {"SUITE": "s", "BASE": "main", "GITHUB_STEP_SUMMARY": str(tmp_path / "step.md")}
    words = ["bash", "-e", "-c", f"convbench() {{ return 5; }}\n{script}"]
    subprocess.run(words, check=True, cwd=tmp_path, env=os.environ | variables)
    assert "exit code 5 before anything was measured" in (tmp_path / "check.md").read_text()
    assert (tmp_path / "step.md").read_text() == (tmp_path / "check.md").read_text()


# --- The site ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """A parsed page: the addresses that it links to or loads, and the anchors that it offers."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := values.get(key))}
        if tag != "link" or values.get("rel") != "canonical":
            self.links += [value for key in ("href", "src") if (value := values.get(key))]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built from a copy of the pages so that no other test sees it half built."""
    root = tmp_path_factory.mktemp("docs")
    for part in ("docs", "convbench", "tests", "suites", "reports"):
        shutil.copytree(
            ROOT / part,
            root / part,
            ignore=shutil.ignore_patterns("node_modules", "__pycache__", "site"),
            symlinks=True,
        )
    shutil.copy(ROOT / "zensical.toml", root)
    subprocess.run([sys.executable, root / "docs" / "reference.py"], check=True, cwd=root)
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=root, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return root / "site"


@pytest.mark.slow
def test_every_link_works_and_nothing_is_loaded_from_another_site(site):
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    examples = site / "examples"
    own = {path: page for path, page in pages.items() if examples not in path.parents}
    assert len(own) > 25
    lost = []
    for path, page in own.items():
        for link in page.links:
            at = urlsplit(link)
            if at.scheme or at.netloc:
                lost += [(path.name, link)] if at.scheme not in ("data", "mailto") else []
                continue
            target = (path.parent / unquote(at.path)).resolve() if at.path else path
            if not target.is_file() or (target in pages and at.fragment not in pages[target].anchors):
                lost.append((path.name, link))
    assert lost == []


@pytest.mark.slow
def test_every_page_is_in_the_navigation(site):
    def listed(entries):
        for entry in entries:
            for value in entry.values():
                yield from listed(value) if isinstance(value, list) else (value,)

    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    docs = site.parent / "build" / "docs"
    built = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    assert set(listed(nav)) == built


@pytest.mark.slow
def test_the_reference_is_complete(site):
    from convbench.analysis import table
    from convbench.core.installed import OWN
    from convbench.core.registry import SHELVES
    from convbench.suite import schema

    def text(page):
        return (site.parent / "build" / "docs" / "reference" / f"{page}.md").read_text()

    plugins, columns, suites = text("plugins"), text("columns"), text("suites")
    own_plugins = [plugin for shelf in SHELVES for plugin in shelf if plugin.origin == OWN]  # other tests import theirs
    assert own_plugins
    assert all(f"### `{plugin.name}`" in plugins for plugin in own_plugins)
    assert all(f"<code>{column.name}</code>" in columns for column in table.columns())
    assert all(f"<code>{key}</code>" in suites for key in schema()["properties"])
    keys = [line.split(" | ") for line in suites.splitlines() if line.startswith("| <code>")]
    assert [row[0] for row in keys if row[-1] == " |" or row[1].startswith("null")] == [], "without a type or meaning"
    verbs = re.findall(r"^## (\S+)$", text("command-line"), re.MULTILINE)
    assert {"run", "report", "advise", "check", "fits", "list", "doctor"} <= set(verbs)
    assert "Traceback" not in text("command-line")


def test_every_public_name_and_its_members_have_docstrings():
    import convbench

    def members(value):
        own = vars(value) if inspect.isclass(value) else {}
        fields = own.get("__annotations__", ())
        yield from (own[name] for name in own if not name.startswith("_") and name not in fields)

    silent = []
    for name in convbench.__all__:
        value = getattr(convbench, name)
        silent += [name for part in (value, *members(value)) if not inspect.getdoc(part)]
    assert silent == []


@pytest.fixture
def reader(browser, request):
    """A page in an offline browser; at the end it must have requested only files and logged nothing."""
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    context.set_offline(True)
    page, events = context.new_page(), []
    page.on("request", lambda sent: events.append(sent.url) if not sent.url.startswith(("file:", "data:")) else None)
    page.on("console", lambda message: events.append(message.text))
    page.on("pageerror", lambda error: events.append(str(error)))
    yield page
    context.close()
    assert events == []


IN_BROWSER = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("reader", [pytest.param(420, marks=IN_BROWSER)], indirect=True)
def test_every_page_fits_a_phone_without_a_network(site, reader):
    pages = [path for path in site.rglob("*.html") if "examples" not in path.parts and path.name != "404.html"]
    assert len(pages) > 20
    for path in pages:
        reader.goto(path.as_uri())
        assert reader.evaluate("document.documentElement.scrollWidth <= innerWidth"), path.name


@pytest.mark.parametrize("reader", [pytest.param(1400, marks=IN_BROWSER)], indirect=True)
def test_the_search_works_from_a_file(site, reader):
    reader.goto((site / "index.html").as_uri())
    reader.get_by_role("button", name="Search").click()
    reader.keyboard.type("allocator")
    reader.get_by_text(re.compile(r"^\d+ results$")).wait_for(timeout=30_000)
