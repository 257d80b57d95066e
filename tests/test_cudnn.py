"""Test formulas for cuDNN's memory against what ``tests/gpu/proofs.py`` recorded on a GPU (``tests/golden/gpu``)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from convbench.measure.memory import cudnn
from convbench.measure.memory.cudnn import MIB, Recurrence

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
