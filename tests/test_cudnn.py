"""Test formulas for cuDNN's memory against what ``tests/gpu/proofs.py`` recorded on a GPU (``tests/golden/gpu``)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from convbench.measure.memory import cudnn
from convbench.measure.memory.cudnn import MIB, Recurrence

ATEN = torch.ops.aten
RECORDED = json.loads(Path(__file__, "../golden/gpu/recurrent.json").resolve().read_text())
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ODD = {"bfloat16": 0.06, "GRU": 0.03, "RNN": 0.03}
"""Relative error that the formula may have if cuDNN uses another algorithm than for an LSTM in float32."""


def recurrence(
    *, inputs=64, hidden=128, steps=16, batch=8, layers=1, bidirectional=False, cell="LSTM", dtype="float32", **_
) -> Recurrence:
    directions, size = 2 if bidirectional else 1, getattr(torch, dtype).itemsize
    return Recurrence(steps, batch, inputs, hidden, layers, directions, GATES[cell], size)


@pytest.mark.parametrize("shape", [row for row in RECORDED if "proj_size" not in row], ids=lambda row: json.dumps(row))
def test_the_workspace_is_as_recorded(shape):
    allowed = max(ODD.get(shape.get("dtype"), 0.01), ODD.get(shape.get("cell"), 0.01))
    assert recurrence(**shape).workspace(shape["train"]) == pytest.approx(shape["workspace"], rel=allowed)


ONE_LAYER = [row for row in RECORDED if "reserve" in row and not {"cell", "proj_size", "layers"} & row.keys()]


@pytest.mark.parametrize("shape", ONE_LAYER, ids=json.dumps)
def test_the_reserve_is_as_recorded(shape):
    assert recurrence(**shape).reserve() == pytest.approx(shape["reserve"], rel=0.01)


@pytest.mark.parametrize(("environment", "capability", "size"), [
    (None, (9, 0), 32 * MIB),
    (None, (8, 6), 8 * MIB + 128 * 1024),
    (None, (12, 0), 8 * MIB + 128 * 1024),
    (":4096:2:16:8", (9, 0), 8 * MIB + 128 * 1024),
    (":16:8", (9, 0), 128 * 1024),
])  # fmt: skip
def test_cublas_keeps_a_workspace_per_thread(monkeypatch, environment, capability, size):
    if environment:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", environment)
    device, product = torch.device("cuda"), torch.ops.aten.mm.default
    assert cudnn.cublas_bytes(product, device, capability) == {"forward": size}
    assert cudnn.cublas_bytes(torch.ops.aten.addmm.default, device, capability) == {"forward": size, "bias": MIB}
    assert cudnn.cublas_bytes(torch.ops.aten.relu.default, device, capability) == {}
    assert cudnn.cublas_bytes(product, torch.device("cpu"), capability) == {}


class Calls(TorchDispatchMode):
    """Records the calls of cuDNN, and runs them with the sizes that a prediction gives them."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = cudnn.STANDINS.get(func, func)(*args, **(kwargs or {}))
        if func in cudnn.STANDINS:
            self.calls.append((func, args, result))
        return result


CELLS = {"LSTM": ATEN.lstm.input, "GRU": ATEN.gru.input, "RNN": ATEN.rnn_tanh.input}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("cell", "layers", "bidirectional"), [("LSTM", 2, True), ("GRU", 1, False), ("RNN", 3, True)])
def test_a_recurrent_layer_is_one_call_of_cudnn_with_its_scratch_and_reserve(
    cell, layers, bidirectional, batch_first, train
):
    options = {"num_layers": layers, "bidirectional": bidirectional, "batch_first": batch_first}
    layer = getattr(torch.nn, cell)(5, 300, device="meta", **options)
    batch, steps = 3, 4
    clip = torch.empty((batch, steps, 5) if batch_first else (steps, batch, 5), device="meta")
    state = torch.empty(layers * (1 + bidirectional), batch, 300, device="meta")
    states = (state, state) if cell == "LSTM" else state
    with Calls() as mode:
        output, *next_states = cudnn.COMPOSED[CELLS[cell]](
            clip, states, layer._flat_weights, True, layers, 0.0, train, bidirectional, batch_first
        )
    expected_output, _ = layer(clip)
    assert output.shape == expected_output.shape
    assert [each.shape for each in next_states] == [state.shape] * (2 if cell == "LSTM" else 1)
    ((func, args, (*_, reserve, _)),) = mode.calls
    shape = recurrence(
        inputs=5, hidden=300, steps=steps, batch=batch, layers=layers, bidirectional=bidirectional, cell=cell
    )
    scratch = shape.workspace(train) + (clip.nbytes if batch_first else 0)
    assert func is ATEN._cudnn_rnn.default
    assert cudnn.scratch_bytes(func, args) == scratch
    assert reserve.nbytes == (shape.reserve() if train else 0)
    backward, values = ATEN._cudnn_rnn_backward.default, dict(zip(names(func), args, strict=False))
    backward_args = [values.get(name) for name in names(backward)]
    assert cudnn.scratch_bytes(backward, backward_args) == scratch
    gradient, state_gradient, _, weight_gradients = cudnn.STANDINS[backward](*backward_args)
    assert (gradient.shape, state_gradient.shape) == (clip.shape, state.shape)
    assert [each.shape for each in weight_gradients] == [weight.shape for weight in layer._flat_weights]


def names(func):
    return [argument.name for argument in func._schema.arguments]


def test_other_operators_take_no_scratch_of_cudnn():
    assert cudnn.scratch_bytes(ATEN.mm.default, ()) == 0


def test_an_lstm_with_a_projection_has_its_outputs_of_that_size():
    layer = torch.nn.LSTM(5, 300, bias=False, proj_size=7, device="meta")
    states = torch.empty(1, 3, 7, device="meta"), torch.empty(1, 3, 300, device="meta")
    with Calls() as mode:
        results = cudnn.COMPOSED[ATEN.lstm.input](
            torch.empty(4, 3, 5, device="meta"), states, layer._flat_weights, False, 1, 0.0, True, False, False
        )
    assert [tuple(result.shape) for result in results] == [(4, 3, 7), (1, 3, 7), (1, 3, 300)]
    ((func, args, _),) = mode.calls
    values = dict(zip(names(func), args, strict=False))
    assert (values["weight_stride0"], values["hidden_size"], values["proj_size"]) == (3, 300, 7)
