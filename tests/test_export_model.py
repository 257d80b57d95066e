"""Test ``export-model``: which measured case it exports, and its messages if it cannot."""

from __future__ import annotations

import ast
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import records
import torch

import convbench
from convbench.core.errors import CaseFailed, ConvbenchError
from convbench.core.imports import import_path
from convbench.core.record import Case, Choice, Clip, Whole
from convbench.measure import handover
from convbench.measure.comparison.parity import Parity
from convbench.measure.handover import HEAD, _array, _eager_output, _program, _program_path, foreign_variants
from convbench.models.deployment import Example
from convbench.models.subject import assemble
from convbench.runs.model_file import _find_record
from convbench.runs.process.processes import Processes

RECORDS = [records.record(records.case(name)) for name in ("gap", "gmp")]


def test_modules_imported_by_run_are_found_again(tmp_path, monkeypatch, in_process):
    """These are the modules beside the suite and the modules that --plugins names."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "beside_suite.py").write_text("build = None\n")
    (tmp_path / "bench" / "whole.yaml").write_text("model: beside_suite:build\n")
    (tmp_path / "brought.py").write_text("")
    whole = records.record(Case(Whole(Choice("beside_suite:build")), Clip(1, 2, 3, 8, 8)))
    records.stored(tmp_path / "run", [whole], command="convbench --plugins brought run bench/whole.yaml")
    imported = []

    def hand_over(case, *_, **__):
        imported.append(import_path(case.architecture.model.name))
        return [], Parity(0.0, 0.0)

    monkeypatch.setattr(handover, "hand_over", hand_over)
    calls = []
    monkeypatch.setattr(Processes, "run", lambda _, call: calls.append(call) or call.work(*call.args))
    done = in_process("export-model", "*", "--run", "run", "--to", "net.onnx", cwd=tmp_path)
    assert (done.returncode, imported) == (0, [None]), done.stderr
    limits = [(call.timeout, call.limited_by) for call in calls]
    assert limits == [(300.0, "protocol.timeout")], "the user's code runs in a process of its own, as long as in run"
    assert "brought" in sys.modules


def test_python_finds_modules_beside_the_suite_of_a_run(tmp_path, monkeypatch):
    """Only the command found them."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "beside_call.py").write_text("build = None\n")
    (tmp_path / "bench" / "whole.yaml").write_text("model: beside_call:build\n")
    whole = records.record(Case(Whole(Choice("beside_call:build")), Clip(1, 2, 3, 8, 8)))
    records.stored(tmp_path / "run", [whole], command="convbench run bench/whole.yaml")
    imported = []

    def hand_over(case, _seed, to, *_):
        imported.append(import_path(case.architecture.model.name))
        return [to], None

    monkeypatch.setattr(handover, "hand_over", hand_over)
    monkeypatch.setattr(Processes, "run", lambda _, call: call.work(*call.args))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert convbench.export_model("run", "net.onnx", "*") == Path("net.onnx")
    assert imported == [None]


@pytest.mark.parametrize(("variant", "parity", "lines"), [
    ((), Parity(2.5e-7, 1.5e-8), ["largest difference from eager 2.5e-07, relative error 1.5e-08"]),
    ((Choice("autocast"),), None, [
        "as far from eager as eager is from itself with other random numbers",
        "without autocast: the file computes in the model's own number type",
    ]),
])  # fmt: skip
def test_the_command_prints_the_files_and_their_distance_from_eager(
    variant, parity, lines, tmp_path, monkeypatch, in_process
):
    case = Case(Whole(Choice("wild:Ending")), Clip(1, 2, 3, 8, 8), variant)
    records.stored(tmp_path / "run", [records.record(case)])

    def hand_over(_case, _seed, to, *_):
        to.write_bytes(bytes(2048))
        return [to], parity

    monkeypatch.setattr(handover, "hand_over", hand_over)
    monkeypatch.setattr(Processes, "run", lambda _, call: call.work(*call.args))
    done = in_process("export-model", "*", "--run", "run", "--to", "net.onnx", cwd=tmp_path)
    assert done.stdout.splitlines() == ["net.onnx (2.00 KiB)", *lines], done.stderr


def test_python_exports_the_winner_of_a_run(tmp_path, monkeypatch):
    """A notebook had to call the command."""
    records.stored(tmp_path / "run", RECORDS)
    calls = []

    def hand_over(case, seed, to, *options):
        calls.append((case.architecture.reducer.name, *options[:1], *options[2:]))
        return [to, to.with_suffix(".py")], Parity(0.0, 0.0)

    monkeypatch.setattr(handover, "hand_over", hand_over)
    monkeypatch.chdir(tmp_path)
    Path("trained.pt").touch()
    assert convbench.export_model("run", "model.onnx", "gmp", weights="trained.pt") == Path("model.onnx")
    run = convbench.open_run("run")
    assert convbench.export_model(run, "a.onnx", exporter="torchscript", any_batch=True) == Path("a.onnx")
    assert calls[0] == ("gmp", tmp_path / "trained.pt", None, False)
    assert calls[1][1:] == (None, "torchscript", True)


@pytest.mark.parametrize(("arguments", "message"), [
    (("run", "model.pt"), "`to` model.pt: name a file that ends in .onnx, in a directory that exists"),
    (("run", "a.onnx", "gpa"), "run: no measured case is called 'gpa'; did you mean 'gap'?"),
    (("none", "a.onnx"), "none: there is no such run"),
    (("run", ""), "to is empty: name a file or a directory"),
    (("run", "a.onnx", 3), "case=3: give a text"),
])  # fmt: skip
def test_a_mistake_in_python_is_one_message(arguments, message, tmp_path, monkeypatch):
    records.stored(tmp_path / "run", RECORDS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConvbenchError) as told:
        convbench.export_model(*arguments)
    assert str(told.value).startswith(message)


def test_an_unknown_exporter_is_refused(tmp_path):
    with pytest.raises(ConvbenchError, match="exporter='onnx': write 'dynamo' or 'torchscript'"):
        convbench.export_model(tmp_path, tmp_path / "a.onnx", exporter="onnx")


@pytest.mark.parametrize("name", ["gap", "*/gap/*", RECORDS[0].case.id])
def test_a_case_is_named_as_with_the_option_only(name):
    assert _find_record(name, RECORDS, Path("run")) is RECORDS[0]


@pytest.mark.parametrize(("name", "message"), [
    ("gpa", "run: no measured case is called 'gpa'; did you mean 'gap'?"),
    ("winter", "run: no measured case is called 'winter': `convbench report run` shows their names"),
    ("eager", "run: 2 cases match 'eager', such as conv/gap/"),
])  # fmt: skip
def test_a_name_of_no_case_or_several_is_refused(name, message):
    with pytest.raises(ConvbenchError) as told:
        _find_record(name, RECORDS, Path("run"))
    assert str(told.value).startswith(message)


def test_the_program_does_not_overwrite_a_users_file(tmp_path):
    """The model's own source often has the name of the exported file."""
    (tmp_path / "net.py").write_text("class Net: ...\n")
    with pytest.raises(ConvbenchError, match=r"net\.py: is not a program of convbench, .*: choose another --to$"):
        _program_path(tmp_path / "net.onnx")
    (tmp_path / "net.py").write_text(HEAD.format(file='"net.onnx"', given="{}"))
    assert _program_path(tmp_path / "net.onnx") == tmp_path / "net.py"


@pytest.mark.parametrize("file", ['a "quoted" one.onnx', "back\\slash.onnx", "übung 😀.onnx", "{braced}.onnx"])
def test_the_program_quotes_any_file_name_correctly(file):
    example = Example(((torch.zeros(1, 2),), {}), torch.zeros(1), None, ("clip",), ("output",))
    tree = ast.parse(_program(file, RECORDS[0].case, example))
    assert file in [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]


def test_the_program_starts_with_a_state_that_is_not_finite():
    """The first state of a maximum over time, -inf, ended the program with a NameError."""
    first = torch.tensor([-math.inf, math.nan, 1.0])
    assert np.array_equal(eval(_array(first), {"np": np}), first.numpy(), equal_nan=True)


def test_a_model_that_raises_fails_with_one_message():
    """This used to end with a traceback, as an internal error."""
    broken = Case(Whole(Choice("wild:Ending", (("how", "raise"),))), Clip(1, 2, 3, 8, 8))
    with pytest.raises(CaseFailed, match="does not run: ValueError: the user's own mistake"):
        _eager_output(broken, lambda: assemble(broken, 0))


@pytest.mark.parametrize(("variant", "lacking"), [
    (Choice("autocast"), ["autocast"]),
    (Choice("compile"), []),
    (Choice("half"), []),
    (Choice("openvino", (("precision", "bf16"),)), ["openvino(precision=bf16)"]),
])  # fmt: skip
def test_a_number_type_missing_from_the_file_is_reported(variant, lacking):
    """The winner in autocast used to be written as float32 under its id and its latency, without a message."""
    assert foreign_variants(Case(Whole(Choice("wild:Ending")), Clip(1, 2, 3, 8, 8), (variant,))) == lacking
