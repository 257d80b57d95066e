"""The command of a run: stored as text, read again, and changed for the next run."""

from dataclasses import replace

import pytest
import records

from convbench.core.case import is_training
from convbench.core.commands import Command
from convbench.suite import load

LINE = (
    "convbench --plugins shop.state run 'my suites/a.yaml' variant=eager 'reducer=[gap,gmp]' --only '*/gap/*' --only b "
    "--skip c --device cuda:1 --shard 2/4 --executor ray --executor-options workers=8 --resume"
)
CALL = (
    "convbench.run({'matrix': {'reducer': ['gap']}}, overrides=['protocol.visits=1'], only=['gap'], device='cpu', "
    "executor='ray', executor_options={'workers': 8}, until_sure=True)"
)


@pytest.mark.parametrize("text", [LINE, CALL, "convbench run default", "convbench.run('article')"])
def test_a_command_is_written_as_it_was_read(text):
    assert str(Command.of(records.run_of([], command=text))) == text


def test_a_command_is_read_into_its_parts():
    command = Command.of(records.run_of([], command=LINE))
    assert (command.source, command.overrides) == ("my suites/a.yaml", ("variant=eager", "reducer=[gap,gmp]"))
    assert (command.only, command.skip, command.plugins) == (("*/gap/*", "b"), ("c",), ("shop.state",))
    call = Command.of(records.run_of([], command=CALL))
    assert (call.source, call.only, call.executor_options) == ("", ("gap",), {"workers": 8})
    assert list(call.words_of("bisect")) == ["convbench", "bisect", "SUITE", "protocol.visits=1"]


@pytest.mark.parametrize(
    "text",
    [
        "merged", "", "it's", "convbench", "convbench check smoke", "convbench run", "convbench run a --unheard-of",
        "convbench run a --help", "convbench run a --until", "make run a",
        "make run", "convbench.run", "convbench.run(", "convbench.run(suite)", "convbench.run('a', 'b')",
        "convbench.run('a', unheard_of=1)", "convbench.runner('a', **1)", "convbench.run('\0')", "(" * 500,
        "convbench.run(" + "(" * 5000,
    ],
)  # fmt: skip
def test_an_unreadable_command_becomes_a_run_of_the_suites_name(text):
    assert str(Command.of(records.run_of([], command=text, name="my suite"))) == "convbench run 'my suite'"


def test_executor_options_are_written_as_the_command_line_reads_them():
    options = {"exclusive": False, "memory": "16GB", "start": 60.0, "account": ""}
    written = ("exclusive=false", "memory=16GB", "start=60.0", "'account=\"\"'")
    command = Command("a", executor="slurm", executor_options=options)
    assert str(command).endswith("".join(f" --executor-options {option}" for option in written))


def test_a_command_for_one_case_drops_the_runs_selection():
    command = Command("a", only=("gap",), skip=("gmp",), shard="1/2", device="cpu")
    assert str(command.of_one_case()) == "convbench run a --device cpu"


def test_an_output_directory_is_written_for_shell_and_python():
    command = Command("a", resume=True)
    assert command.into("'my run'") == "convbench run a --resume --out 'my run'"
    assert replace(command, python=True).into("my run") == "convbench.run('a', resume=True, out='my run')"


def test_a_training_is_recognised_by_its_ids_form():
    assert is_training("conv/gap/32/lstm64/32x8x1x32x32/eager/learn/cpu/identity/lr=0.002/seed=0")
    assert is_training("conv/gap/32/lstm64/32x8x1x32x32/eager/learn/cuda:1/identity/lr=0.002/seed=0")
    assert not is_training("conv(weights=/data/learn/w.pt)/gap/32/lstm64/1x16x3x64x64/eager/inference/cpu")


def test_the_help_cuts_no_verbs_sentence(tmp_path, in_process):
    """At 80 columns 18 of 22 sentences ended in "...", some before the exit codes."""
    page = in_process("--help", cwd=tmp_path).stdout
    assert "..." not in page.partition("Commands:")[2]
    assert "exit 3 a range." in " ".join(page.split())


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("./x/../suites/a.yaml", "suites/a.yaml"),
        ("{here}/suites//a.yaml", "suites/a.yaml"),
        ("../here/suites/a.yaml", "suites/a.yaml"),
        ("link/../a.yaml", "link/../a.yaml"),
        ("../a.yaml", "../a.yaml"),
        ("smoke", "smoke"),
    ],
)
def test_a_suites_file_is_named_from_the_working_directory(tmp_path, monkeypatch, text, source):
    """The command that repeats a run used to name it as typed: ``./x/../suites/a.yaml``."""
    here = tmp_path / "here"
    for folder in (here / "x", here / "suites", tmp_path / "far" / "deep"):
        folder.mkdir(parents=True)
    (here / "link").symlink_to(tmp_path / "far" / "deep")
    for place in (here / "suites", tmp_path, tmp_path / "far"):
        (place / "a.yaml").write_text("matrix: {reducer: gap}")
    monkeypatch.chdir(here)
    assert load(text.format(here=here)).source == source
