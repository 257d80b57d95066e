"""Explain why a model cannot be exported, quantised or run by a runtime, from the chain of errors."""

from __future__ import annotations

import re
from collections.abc import Iterator

from convbench.core.code import place_of

_OPERATOR = re.compile(r"OpOverload\(op='([\w.:]+)'|(?:operator|Operator) '?([\w.]+::[\w.]+)'?|\b([a-z]\w*::\w+)")
"""The ways in which messages name an operator."""
OPENVINO_PREFIX = "Exception from src/"
"""The start of OpenVINO's messages. Lines that end with a colon are places in its sources, the others are reasons."""
BRANCH_PREFIX = "Could not guard on data-dependent expression"
"""The start of torch's message if an ``if`` reads the value of a tensor. It continues with torch's own symbols."""
BRANCH_REASON = (
    "what the model computes depends on the values of a tensor, such as with an if, but an exported model always "
    "computes the same: let torch.where choose, or decide before the call"
)
LONGEST = 300


def reason(error: BaseException) -> str:
    """Return the innermost reason of an error, the operator if a message names one, and the user's line if known."""
    chain = list(_chain(error))
    if str(error).startswith(OPENVINO_PREFIX):
        return _openvino_reason(str(error))
    operator = next((match for cause in chain if (match := _operator(str(cause)))), None)
    line = next((line for cause in reversed(chain) if (line := _first_line(cause))), type(error).__name__)
    line = BRANCH_REASON if line.startswith(BRANCH_PREFIX) else line
    sentence = f"the operator {operator}: {line}" if operator else line
    place = next((place for cause in reversed(chain) if (place := place_of(cause))), "")
    return f"{sentence} ({place})" if place else sentence


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _openvino_reason(text: str) -> str:
    """Return the first and the last line that state a reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reasons = [line.removeprefix("-- ") for line in lines if not line.endswith(":")] or lines
    return " ".join(dict.fromkeys((reasons[0], reasons[-1])))[:LONGEST]


def _operator(text: str) -> str | None:
    match = _OPERATOR.search(text)
    return next((group for group in match.groups() if group), None) if match else None


def _first_line(error: BaseException) -> str:
    """Return the first line with words, and the next one too if it ends with a colon."""
    all_lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()]
    lines = [line for line in all_lines if line and not set(line) <= set("=-#* ")]
    return " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])[:LONGEST]
