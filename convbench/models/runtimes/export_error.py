"""Explain why a model cannot be exported, quantised or run by a runtime, from the chain of errors."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator

import torch
from torch import nn

from convbench.core.code import place_of
from convbench.models.weights import quantised_weights

_OPERATOR = re.compile(r"OpOverload\(op='([\w.:]+)'|(?:operator|Operator) '?([\w.]+::[\w.]+)'?|\b([a-z]\w*::\w+)")
"""The ways in which messages name an operator."""
_NO_REASON = re.compile(r"\x1b\[[0-9;]*m|Load model from .*? failed: ?")
"""Colours, and where ONNX Runtime looked for the file: a temporary folder, which differs from visit to visit."""
OPENVINO_PREFIX = "Exception from src/"
"""The start of OpenVINO's messages. Lines that end with a colon are places in its sources, the others are reasons."""
BRANCH_REASON = (
    "what the model computes depends on the values of a tensor, such as with an if, but an exported model always "
    "computes the same: let torch.where choose, or decide before the call"
)
NUMBER_REASON = (
    "the model takes a number from a tensor, such as a length, but an exported model always computes the same: pass it "
    "as a number, or make it before the call"
)
REASON_BY_PREFIX = {
    "Could not guard on data-dependent expression": BRANCH_REASON,
    "Could not extract specialized integer from data-dependent expression": NUMBER_REASON,
}
"""What the starts of torch's messages mean. These messages continue with torch's own symbols, such as ``u0``."""
STEPS = "of exporting the model to ONNX. Next steps:"
"""Part of the line with which torch's exporter wraps any error. It tells no reason."""
PACKED_REASON = "torch.export takes no packed sequence: use the exporter torchscript of onnxruntime or openvino"
RNNS = "torch.nn.modules.rnn"
LONGEST = 300


def reason(error: BaseException) -> str:
    """Return the innermost reason of an error, the operator if a message names one, and the user's line if known."""
    chain = list(_chain(error))
    if str(error).startswith(OPENVINO_PREFIX):
        return _openvino_reason(str(error))
    operator = next((match for cause in chain if (match := _operator(str(cause)))), None)
    lines = [line for cause in reversed(chain) if (line := _first_line(cause)) and STEPS not in line]
    line = lines[0] if lines else _without_message(chain[-1])
    line = next((words for prefix, words in REASON_BY_PREFIX.items() if line.startswith(prefix)), line)
    line = PACKED_REASON if any(map(_met_packed_sequence, chain)) else line
    sentence = f"the operator {operator}: {line}" if operator else line
    place = next((place for cause in reversed(chain) if (place := place_of(cause))), "")
    return f"{sentence} ({place})" if place else sentence


def export_reason(error: BaseException, flat_model: nn.Module) -> str:
    """Return the ``reason`` of an error of an exporter, and what of the model exporters seldom take."""
    kinds = ((name, _kind(module)) for name, module in flat_model.named_modules())
    name, kind = next(((name, kind) for name, kind in kinds if kind), ("", ""))
    part = name.removeprefix("model").removeprefix(".") or "the model"
    advice = f"; {part} is {kind}, which exporters seldom take: export what it was made of" if kind else ""
    return reason(error) + advice


def _kind(module: nn.Module) -> str:
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted or traced"
    return "quantised" if quantised_weights(module) else ""


def _met_packed_sequence(error: BaseException) -> bool:
    """Whether an error came from a recurrent layer of torch that was given a packed sequence."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(
        frame.f_globals.get("__name__") == RNNS and frame.f_locals.get("batch_sizes") is not None for frame in frames
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _without_message(error: BaseException) -> str:
    """Return the type of an error and the line of the library that raised it, which is all that it tells."""
    frames = list(traceback.walk_tb(error.__traceback__))
    place = f" from line {frames[-1][1]} of {frames[-1][0].f_globals.get('__name__', 'a library')}" if frames else ""
    return f"{type(error).__name__} without a message{place}"


def _openvino_reason(text: str) -> str:
    """Return the first and the last line that state a reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reasons = [line.removeprefix("-- ") for line in lines if not line.endswith(":")] or lines
    return " ".join(dict.fromkeys((reasons[0], reasons[-1])))[:LONGEST]


def _operator(text: str) -> str | None:
    match = _OPERATOR.search(text)
    return next((group for group in match.groups() if group), None) if match else None


def _first_line(error: BaseException) -> str:
    """Return the first line with words, and, as long as a line ends with a colon, the next one too."""
    all_lines = [line.strip() for line in _NO_REASON.sub("", str(error)).splitlines()]
    lines = [line for line in all_lines if line and not set(line) <= set("=-#* ")]
    end = next((place for place, line in enumerate(lines, 1) if not line.endswith(":")), len(lines))
    return " ".join(lines[:end])[:LONGEST]
