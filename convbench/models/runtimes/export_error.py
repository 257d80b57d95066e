"""Why a model cannot be exported, quantised or run by a runtime, from the chain of errors that it ended in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from convbench.core.code import place_of

_OPERATOR = re.compile(r"OpOverload\(op='([\w.:]+)'|(?:operator|Operator) '?([\w.]+::[\w.]+)'?|\b([a-z]\w*::\w+)")
"""How messages name an operator."""
OPENVINO_PREFIX = "Exception from src/"
"""How OpenVINO's messages begin: lines that end with a colon tell where in its sources, the others what."""
BRANCH_PREFIX = "Could not guard on data-dependent expression"
"""How torch's message begins where an ``if`` asks for the value of a tensor; the rest are symbols of its own."""
BRANCH_REASON = (
    "what is computed depends on the values of tensors, as by an if, and an exported model computes the same for all: "
    "let torch.where choose, or decide before the call"
)
LONGEST = 300


def reason(error: BaseException) -> str:
    """The operator that is not known, where an error names one, the innermost reason, and the user's line, if known."""
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
    """What is wrong, and of what: the first and the last line that say it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reasons = [line.removeprefix("-- ") for line in lines if not line.endswith(":")] or lines
    return " ".join(dict.fromkeys((reasons[0], reasons[-1])))[:LONGEST]


def _operator(text: str) -> str | None:
    match = _OPERATOR.search(text)
    return next((group for group in match.groups() if group), None) if match else None


def _first_line(error: BaseException) -> str:
    """The first line that says something, with the next one where it ends with a colon."""
    all_lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()]
    lines = [line for line in all_lines if line and not set(line) <= set("=-#* ")]
    return " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])[:LONGEST]
