"""Test a plug-in of each kind as one file of a user's package, by entry point or import path, from list to report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import command
import newcomer
import pytest

from convbench.core import installed
from convbench.core.storage import store

OWN = "[shop-plugins 1.2]"


def convbench(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return command.convbench(*words, cwd=cwd, path=cwd, columns=200)


def names_of_readings(record):
    """Names of the record's readings, which do not depend on how quiet the machine was."""
    return {reading.metric.name for reading in record.readings}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with the installed package, whose suite was run and reported once."""
    folder = newcomer.install(tmp_path_factory.mktemp("shop"))
    done = convbench("run", "shop.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    (folder / "run.log").write_text(done.stderr)
    return folder


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return convbench("list", cwd=newcomer.install(tmp_path_factory.mktemp("listed"))).stdout


@pytest.mark.parametrize(
    "line",
    [
        "mean-std(scale=1.0, label=null)",
        "shop-count",
        "traced(strict=true)",
        "bright(level=0.5)",
        "shop-1",
    ],
)
def test_list_shows_each_plugin_with_its_origin(listed, line):
    (entry,) = [text for text in listed.splitlines() if text.startswith(f"  {line} ")]
    assert entry.endswith(OWN)


def test_list_shows_missing_plugins_and_required_options_without_defaults(listed):
    (closed,) = [line for line in listed.splitlines() if "shop.broken" in line]
    assert closed.startswith("lacking: plug-ins of shop-plugins 1.2 are missing: cannot import 'shop.broken': ")
    assert closed.endswith("RuntimeError: the shop is closed (broken.py:1)")
    assert "two reducers are called 'gap': rename one" in listed
    assert "two verbs are called 'fits': rename one" in listed
    assert "npz-folder(path) " in listed
    assert "Mean of each channel" in next(line for line in listed.splitlines() if line.startswith("  gap "))


def test_the_reducer_runs_and_its_declaration_is_recorded(shop):
    records = [record for record in store.load(shop / "reports" / "shop")[1] if "mean-std" in record.case.id]
    plain = next(record for record in records if not record.case.variant and record.case.trial is None)
    assert plain.case.architecture.lstm_input == 64
    assert plain.conditions["position"] == "lost"
    assert {"predicted_peak_bytes", "latency_s_reducer"} <= names_of_readings(plain)


def test_the_variant_has_its_declared_traits(shop):
    run, records = store.load(shop / "reports" / "shop")
    traced = [record for record in records if record.case.variant_name == "traced" and record.case.trial is None]
    assert [record.status for record in traced] == ["ok", "ok"]
    for record in traced:
        assert [finding.data["engine"] for finding in record.findings if finding.code == "opaque_engine"] == [
            "torchscript"
        ]
        assert not {"predicted_peak_bytes", "latency_s_reducer"} & names_of_readings(record)
        assert record.conditions["dtype"] == "tf32"
    assert run.environment["shop-plugins"] == "1.2"


def test_the_task_is_learned(shop):
    learnt = [record for record in store.load(shop / "reports" / "shop")[1] if record.case.trial]
    assert sorted(record.case.variant_name for record in learnt) == ["eager", "traced"]
    for record in learnt:
        assert (record.status, str(record.case.trial.task), record.case.trains) == ("ok", "bright", True)
        assert record.samples("classes") == (2,)


def test_the_figure_is_on_the_page_and_in_a_file(shop):
    assert "Cases in the shop" in (shop / "reports" / "shop" / "index.html").read_text()
    done = convbench("report", "reports/shop", "--format", "svg", "--out", "figures", cwd=shop)
    assert done.returncode == 0, done.stderr
    assert (shop / "figures" / "shop-shop-count.svg").is_file()


def test_the_verb_is_in_help_and_runs(shop):
    assert "shop-count" in convbench("--help", cwd=shop).stdout
    assert convbench("shop-count", "reports/shop", cwd=shop).stdout == "6 records in the shop\n"
    assert "never called" not in convbench("fits", "--help", cwd=shop).stdout


def test_the_claim_is_tested_after_the_articles_claims(shop):
    done = convbench("claims", "reports/shop", "--out", "judged", cwd=shop)
    assert done.returncode == 0, done.stderr
    claims = json.loads((shop / "judged" / "claims.json").read_text())["claims"]
    assert [claims[0]["number"], claims[-1]["number"]] == ["C1", "shop-1"]
    assert (claims[-1]["verdict"], claims[-1]["why"]) == ("supported", "It is 2 times as long.")


def test_a_missing_plugin_is_an_error_only_if_used(shop):
    done = convbench("run", "shop.yaml", "reducer=closed", "--dry-run", cwd=shop)
    assert done.returncode == 2
    assert "unknown 'closed'" in done.stderr
    assert "plug-ins of shop-plugins 1.2 are missing" in done.stderr


def test_a_run_says_first_which_plugins_are_missing(shop):
    before, _, results = (shop / "run.log").read_text().partition("[1/")
    assert results
    assert "two reducers are called 'gap': rename one" in before


def test_the_variant_is_refused_in_scenarios_that_it_excludes(shop):
    done = convbench("run", "shop.yaml", "scenario=train", "variant=traced", "--dry-run", cwd=shop)
    assert done.returncode == 2
    assert "variant traced cannot be used in scenario train: use scenario: inference" in done.stderr


@pytest.fixture(scope="module")
def loose(tmp_path_factory):
    """The package beside its suite, without entry points."""
    return newcomer.package(tmp_path_factory.mktemp("loose"))


def test_plugins_by_import_path_need_no_registration(loose):
    words = ("reducer=shop.reducer:mean_std", "variant=shop.variant:traced")
    done = convbench("run", "loose.yaml", *words, "--metrics", "params", "--json", cwd=loose)
    assert done.returncode == 0, done.stderr
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (row["reducer"], row["lstm_input"], row["variant"]) == (
        "shop.reducer:mean_std", 64, "shop.variant:traced"
    )  # fmt: skip


def test_a_module_named_on_the_command_line_brings_its_plugins(loose):
    named = ("--plugins", "shop.reducer", "--plugins", "shop.figure")
    output = convbench(*named, "list", cwd=loose).stdout
    assert "[shop.reducer]" in output
    assert "[shop.figure]" in output
    missing = convbench("--plugins", "shop.nowhere", "list", cwd=loose)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "No module named 'shop.nowhere'" in missing.stderr
    assert missing.stderr.endswith(": correct the name, or put the module there\n")
    output = convbench("--plugins", "./shop/reducer.py,shop/figure.py", "list", cwd=loose).stdout
    assert "[shop.reducer]" in output
    assert "[shop.figure]" in output
    missing = convbench("--plugins", "shop.reducer,shop/nowhere.py", "list", cwd=loose)
    assert "No module named 'shop.nowhere'" in missing.stderr
    empty = convbench("--plugins", "shop", "--version", cwd=loose)
    assert (empty.returncode, "convbench: --plugins shop registers nothing" in empty.stderr) == (0, True)
    words = ("reducer=mean-std", "variant=eager", "--metrics", "latency")
    done = convbench(*named, "run", "loose.yaml", *words, cwd=loose)
    assert done.returncode == 0, done.stderr
    assert "Cases in the shop" in (loose / "reports" / "loose" / "index.html").read_text()


def test_a_file_that_lies_elsewhere_says_where_to_put_its_folder(monkeypatch):
    """It was the TypeError of a relative import."""
    monkeypatch.setattr(installed, "_missing_plugins", {})
    installed.bring(installed.PluginModule("../shop", "../shop"))
    (lacking,) = installed.missing_plugins()
    assert "write shop and put its folder on the path, as in PYTHONPATH=.. convbench" in lacking.reason


def test_a_plugin_in_a_source_folder_says_where_it_lies(tmp_path, monkeypatch):
    """``check`` puts src/ on its workers' path, but ``--plugins`` is imported before."""
    (tmp_path / "src" / "store").mkdir(parents=True)
    (tmp_path / "src" / "store" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(installed, "_missing_plugins", {})
    installed.bring(installed.PluginModule("store.reducers", "store.reducers"))
    (lacking,) = installed.missing_plugins()
    assert "it lies in src: put that on the path, as in PYTHONPATH=src convbench" in lacking.reason


def test_a_named_module_adds_verbs_but_replaces_none(shop, loose):
    done = convbench("--plugins", "shop.verb", "shop-count", str(shop / "reports" / "shop"), cwd=loose)
    assert (done.stdout, done.stderr) == ("6 records in the shop\n", "")
    shown = convbench("--plugins", "shop.verb", "list", "scenarios", cwd=loose).stdout
    assert "plug-ins of shop.verb are missing: two verbs are called 'fits': rename one" in shown


WITHOUT_TORCH = """
import sys
from pathlib import Path
sys.modules["torch"] = None
from convbench.core import traits
from convbench.core.record import Case, Choice, Parts
from convbench.core.registry import variants

print(*(plugin.name for plugin in variants))
case = Case(Parts(Choice("conv"), Choice("gap")), variant=(Choice("autocast", (("dtype", "fp16"),)), Choice("compile")))
print(traits.dtype(case), traits.engine(case), traits.opaque(case), traits.own_process(case))
"""


def test_traits_of_a_variant_are_known_without_torch():
    ran = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    known, declared = ran.stdout.splitlines()
    assert {
        *("allocator", "aot-inductor", "autocast", "channels_last", "checkpoint", "compile", "eager", "half", "int8"),
        *("onnxruntime", "openvino", "optimizer", "tensorrt"),
    } <= set(known.split())
    assert declared == "fp16 inductor True True"
