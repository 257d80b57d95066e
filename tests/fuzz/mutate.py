"""Make hostile and clumsy inputs: texts, arguments and stored files, changed at random from a seed."""

from __future__ import annotations

import json
import random
from typing import Any

SCALARS = (
    "",
    "null",
    "~",
    "true",
    "-1",
    "0",
    "1e999",
    ".nan",
    ".inf",
    "9" * 5000,
    "0b" + "1" * 9000,
    "2001-99-99",
    "1:99:99",
    '"\\U00110000"',
    '"\\ud800"',
    "!!int ''",
    "!!float ''",
    "!!bool foo",
    "!!timestamp x",
    "!!binary '@'",
    "!!set {a}",
    "!!python/name:os.system x",
    "*nowhere",
    "&a [*a]",
    "[" * 400,
    "{a: " * 300,
    "a" * 5000,
    "gap(k=",
    "gap(k=2001-99-99)",
    "=1+1",
    "\x1b[31m",
    "\u202eabc",
    "x:y",
    "..:z",
    "./a.py:b",
    ":",
    "1x1x1x1",
    "²x²",
    "{name: gap, k: [1, 2]}",
    "<script>",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    [],
    {},
    "",
    -1,
    0,
    1,
    1e308,
    2**70,
    [[]],
    {"a": {}},
    "x" * 5000,
    "\x1b[31m",
    "\u202eabc",
    "=1+1",
    "<script>",
    "a/b",
    "`|`",
    [1, "a", None],
    "2001-99-99",
    "'",
    -0.0,
    1e-320,
)


def text(source: str, others: list[str], chance: random.Random) -> str:
    """Return the text with some characters, words or lines changed, doubled, deleted or taken from other texts."""
    for _ in range(chance.randint(1, 4)):
        lines = source.splitlines(keepends=True) or [""]
        at = chance.randrange(len(lines))
        match chance.randrange(8):
            case 0:
                lines[at] = ""
            case 1:
                lines.insert(at, chance.choice(lines))
            case 2:
                key, colon, _ = lines[at].partition(":")
                lines[at] = f"{key}{colon or ':'} {chance.choice(SCALARS)}\n"
            case 3:
                lines[at] = chance.choice((" ", "\t", "- ", "? ", "<<: ", "x-")) + lines[at]
            case 4:
                lines.insert(at, chance.choice(chance.choice(others).splitlines(keepends=True) or ["\n"]))
            case 5:
                position = chance.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:position] + chance.choice(SCALARS)[:40] + lines[at][position:]
            case 6:
                del lines[at:]
            case 7:
                position = chance.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:position] + chr(chance.choice((0, 9, 27, 0x85, 0x2028, 0xFEFF, 0x1F600)))
        source = "".join(lines)
    return source


def encoded(source: str, chance: random.Random) -> bytes:
    """Return the text in an encoding that editors write; sometimes the bytes are damaged."""
    encoding = chance.choices(("utf-8", "utf-16", "utf-8-sig", "latin-1", "utf-32"), (90, 4, 2, 2, 2))[0]
    data = source.encode(encoding, "replace")
    return data if chance.random() < 0.97 else damaged(data, chance)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return the data with bytes changed, cut off, inserted or deleted."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[at:]
            case 2:
                changed[at:at] = bytes(chance.randrange(256) for _ in range(5))
            case 3:
                del changed[at : at + chance.randint(1, 50)]
    return bytes(changed)


def json_text(source: str, chance: random.Random) -> bytes:
    """Return JSON lines with values exchanged for any other type or keys removed; sometimes only damaged bytes."""
    if chance.random() < 0.25:
        return damaged(source.encode(), chance)
    try:
        values = [json.loads(source)]
    except ValueError:
        values = [json.loads(line) for line in source.splitlines()]
    for _ in range(chance.randint(1, 3)):
        _exchange(chance.choice(values), chance)
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def _exchange(value: Any, chance: random.Random) -> None:
    """Go down to a random place, and exchange the value there or delete its key."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and chance.random() < 0.85:
            value = value[key]
            continue
        if isinstance(value, dict) and chance.random() < 0.2:
            del value[key]
        else:
            value[key] = chance.choice(VALUES)
        return
