"""MACs of an Einstein sum from its letters alone, as torch turns it into matrix products.

1. Find the letters of every operand and of the output, including letters for dots.
2. Contract operands two by two, in the order of a path or from the left.
3. Two operands that share a letter which occurs nowhere else form a matrix product over all their letters; a letter
   that only one of them has, and nothing else needs, is summed before. Without such a shared letter they are multiplied
   element by element, which is no MAC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

DOTS = "..."
FIRST_DOT = 0x100
"""Code of the first letter that stands for dots; nobody writes letters from here on."""


def contraction_macs(equation: str, shapes: Sequence[Sequence[int]], path: Sequence[int] = ()) -> int:
    """MACs of ``torch.einsum(equation, ...)`` for operands of these shapes.

    ``path`` lists the positions of the operands to contract next, two by two; each result goes to the end.
    """
    terms, output = _letters(equation.replace(" ", ""), shapes)
    axes = [
        {letter: size for letter, size in zip(term, shape, strict=True) if size != 1}
        for term, shape in zip(terms, shapes, strict=True)
    ]
    sizes = {letter: size for operand in axes for letter, size in operand.items()}
    operands = [set(operand) for operand in axes]
    order, macs = list(path) or [0, 1] * (len(operands) - 1), 0
    while len(operands) > 1:
        second, first = sorted((order.pop(0), order.pop(0)), reverse=True)
        right, left = operands.pop(second), operands.pop(first)
        outer_letters = set(output).union(*operands)
        if (left & right) - outer_letters:
            macs += prod(sizes[letter] for letter in left | right if letter in outer_letters or letter in left & right)
        operands.insert(len(operands) if path else 0, left | right)
    return macs


def _letters(equation: str, shapes: Sequence[Sequence[int]]) -> tuple[list[str], str]:
    """The letters of each operand and of the output, one per axis; without an arrow, those that occur once."""
    inputs, arrow, output = equation.partition("->")
    operands = inputs.split(",")
    dot_counts = [len(shape) - len(term.replace(DOTS, "")) for term, shape in zip(operands, shapes, strict=True)]
    dots = "".join(chr(FIRST_DOT + place) for place in range(max(dot_counts)))
    terms = [term.replace(DOTS, dots[len(dots) - count :]) for term, count in zip(operands, dot_counts, strict=True)]
    if not arrow:
        counts = Counter(inputs.replace(",", "").replace(DOTS, ""))
        output = DOTS + "".join(sorted(letter for letter, count in counts.items() if count == 1))
    return terms, output.replace(DOTS, dots)
