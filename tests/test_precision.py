"""How exactly float32 is computed with is told whichever switch of torch's has set it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from convbench.measure.live import count as live
from convbench.measure.machine import environment, precision
from convbench.models.inputs import Inputs

NEWER = pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch has no newer switches")


@pytest.fixture
def set_to() -> Iterator[Callable[[Any, str], None]]:
    """Sets a newer switch until the end of the test."""
    before: list[tuple[Any, str]] = []

    def put(switch: Any, word: str) -> None:
        before.append((switch, switch.fp32_precision))
        switch.fp32_precision = word

    yield put
    for switch, word in before:
        switch.fp32_precision = word


@NEWER
def test_a_module_is_counted_whichever_switch_has_set_tf32(set_to) -> None:
    set_to(torch.backends.cudnn.conv, "ieee")
    with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
        assert torch.backends.cudnn.allow_tf32
    assert live.count(nn.LSTM(3, 4), Inputs((torch.zeros(5, 1, 3),))).macs == 5 * 4 * 4 * (3 + 4)


def test_counting_warns_of_nothing_and_leaves_the_fused_operators_on() -> None:
    before = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
    with warnings.catch_warnings(action="error"):
        live.count(nn.LSTM(3, 4), Inputs((torch.zeros(5, 1, 3),)))
    assert (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled) == before


@NEWER
def test_cudnn_may_use_tf32_where_any_of_its_operators_may(set_to) -> None:
    assert precision.tf32_in_cudnn()
    set_to(torch.backends.cudnn.conv, "ieee")
    assert precision.tf32_in_cudnn()
    assert precision.tf32("cuda") and not precision.tf32("cpu")
    set_to(torch.backends.cudnn.rnn, "ieee")
    assert not precision.tf32_in_cudnn()
    assert not precision.tf32("cuda")


@NEWER
def test_the_precision_of_products_is_a_fact_whichever_switch_has_set_it(set_to) -> None:
    assert environment.describe("cpu")["matmul_precision"] == torch.get_float32_matmul_precision() == "highest"
    set_to(torch.backends.cuda.matmul, "tf32")
    with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
        torch.get_float32_matmul_precision()
    assert precision.products("cuda:1") == "tf32"
    assert environment.describe("cpu")["matmul_precision"] in precision.EXACT


def test_variables_that_limit_instructions_are_facts_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run under them passed for one of the same machine, and was stated at the speed of the others."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert environment.describe("cpu")["ONEDNN_MAX_CPU_ISA"] == "SSE41"
