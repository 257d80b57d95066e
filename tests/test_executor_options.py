"""Options of an executor: where they come from, and one message for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from convbench.cli import app
from convbench.core.errors import ConvbenchError
from convbench.runs.executor_options import executor_options


def test_the_command_line_overrides_options_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("workers: 8\npartition: gpu\nexclusive: false\n")
    assert executor_options("slurm", [str(file), "workers=2"]) == {
        "workers": 2, "partition": "gpu", "exclusive": False,
    }  # fmt: skip
    assert executor_options("ray", ["address=head:6379", "silence=30"]) == {"address": "head:6379", "silence": 30}
    assert executor_options(None, []) == {}


@pytest.mark.parametrize("text", ["007", "1e3", "0x10", "1.50", "null", "true", "module load cuda: 12", "[a]"])
def test_an_option_that_takes_text_gets_it_as_it_is_written(text: str) -> None:
    """An account 007 used to become 7, and a partition 1e3 1000."""
    assert executor_options("slurm", [f"account={text}", "workers=0x10"]) == {"account": text, "workers": 16}


@pytest.mark.parametrize(
    ("name", "option", "words"),
    [
        ("ray", "wokers=2", "the executor ray has no option 'wokers'; did you mean 'workers'"),
        ("ray", "workers=0", "--executor-options workers=0: 0 is too small: at least 1"),
        ("ray", "workers=two", "'two' is not a whole number"),
        ("slurm", "cluster=pbs", "unknown 'pbs'; known: 'slurm', 'local' or 'debug'"),
        ("slurm", "nothing.yaml", "neither key=value nor a file that can be read (No such file or directory)"),
        ("slurm", "workers=[1", "not YAML"),
        ("slurm", f"workers={'[' * 1000}", "not YAML (it is nested too deeply)"),
        ("rya", "workers=1", "unknown executor 'rya'; did you mean 'ray'"),
        (None, "workers=1", "--executor-options needs --executor NAME"),
        ("slurm", "account=", "--executor-options account= has no value: give it a value, or leave it out"),
        ("in-process", "workers=1", "the executor in-process has no option 'workers': it takes none"),
    ],
)
def test_a_wrong_option_is_refused_in_one_message(name: str | None, option: str, words: str) -> None:
    with pytest.raises(ConvbenchError) as raised:
        executor_options(name, [option])
    assert words in str(raised.value)


def test_the_help_says_that_the_option_may_be_repeated() -> None:
    shown = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ["run", "--help"]).output
    assert "An option of the executor" in shown
    assert "(see `list executors`); may be repeated." in " ".join(shown.replace("│", " ").split())


def test_a_wrong_value_of_a_file_is_shown_as_yaml_writes_it() -> None:
    """It was shown once as Python writes it, too: ``account=None``."""
    with pytest.raises(ConvbenchError, match="--executor-options account: null is not text"):
        executor_options("slurm", [{"account": None}])


@pytest.mark.parametrize("content", ["- 1\n", "1: 2\n", "workers: 1\nworkers: 2\n", "\x00", "a: [\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(content)
    with pytest.raises(ConvbenchError, match="--executor-options"):
        executor_options("ray", [str(file)])
