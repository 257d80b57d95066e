"""Standard output and standard error, made safe for a terminal and for the loss of their reader.

If a reader closes the pipe, or the disk is full, only the printed text is lost: a run goes on and writes its report.
Characters that a terminal would act on, such as an escape sequence in a case's name, are shown as a mark.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.core.text import printable

if TYPE_CHECKING:
    from rich.console import Console

LOG_WIDTH = 160
IN_ASCII = {"×": "x", "–": "-", "—": "-", "…": "...", "µ": "u", "²": "^2", "±": "+-", "→": "->", "·": "*", "≤": "<="}
SPELLED = "convbench-spelled"
LEAST = 12
"""Columns of the screen that a cell of words needs to be readable."""


class Stream:
    """A text stream that survives the loss of its reader; ``loss`` is the first error."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.loss: OSError | None = None
        if hasattr(stream, "reconfigure"):
            with suppress(ValueError, OSError):
                stream.reconfigure(errors=SPELLED, line_buffering=True)  # also in a pipe or a log of CI

    def write(self, text: str) -> int:
        try:
            self.stream.write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        """Go on without a reader: discard whatever is still written, also when the interpreter ends."""
        self.loss = self.loss or error
        with suppress(OSError, ValueError):
            descriptor = os.open(os.devnull, os.O_WRONLY)
            os.dup2(descriptor, self.stream.fileno())
            os.close(descriptor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class CleanStream:
    """A ``Stream`` without control characters. ``raw`` is for output that draws with them and cleans names itself."""

    def __init__(self, raw: Stream) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        return self.raw.write(printable(text))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


@contextmanager
def guard() -> Iterator[Stream]:
    """Let standard output and standard error be ``CleanStream`` inside the block. Yield the stream of the output."""
    streams = sys.stdout, sys.stderr
    output, errors = (Stream(stream or Path(os.devnull).open("w")) for stream in streams)  # noqa: SIM115
    sys.stdout, sys.stderr = CleanStream(output), CleanStream(errors)
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = streams


def write_problem(stream: Stream) -> str:
    """Why printed text was lost; empty if it was not, or if its reader closed the pipe."""
    if stream.loss is None or stream.loss.errno == errno.EPIPE:
        return ""
    return f"standard output cannot be written: {stream.loss.strerror}"


def console(wide: bool = True, stderr: bool = False, **options: Any) -> Console:
    """Return a console of rich that shows no control characters except rich's own.

    ``wide`` makes room for a table if the output goes to a file or the log of a CI system.
    """
    from rich.console import Console
    from rich.segment import Segment

    from convbench.report.terminal.progress import is_screen

    class CleanConsole(Console):
        def render(self, *args: Any, **kwargs: Any) -> Iterator[Segment]:
            for segment in super().render(*args, **kwargs):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    stream = sys.stderr if stderr else sys.stdout
    # A terminal of unknown size exports COLUMNS=0: for rich that is a width, on which it prints nothing.
    environ = {name: value for name, value in os.environ.items() if (name, value.strip("0")) != ("COLUMNS", "")}
    screen = CleanConsole(file=getattr(stream, "raw", None), stderr=stderr, _environ=environ, **options)
    if wide and not (is_screen(screen) or "COLUMNS" in environ):
        screen.width = LOG_WIDTH
    return screen


def print_table(
    screen: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str = "",
    wrapping: Sequence[str] = (),
) -> None:
    """Print a table whose numbers are never broken: only the columns named by ``wrapping`` wrap, and none is empty.

    If the screen is too narrow for that, each row is its first cell with one line per further value below.
    """
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    columns = [column for column in zip(headings, *rows, strict=True) if any(column[1:]) or not rows]
    headings, *rows = zip(*columns, strict=True)
    widths = {cells[0]: max(map(cell_len, cells)) for cells in columns}
    words = sorted((name for name in headings if name in wrapping), key=lambda name: widths[name])
    room = screen.width - 2 * len(columns) - sum(width for name, width in widths.items() if name not in words)
    if room < sum(min(LEAST, widths[name]) for name in words):
        lines = [title] if title else []
        for first_cell, *cells in rows:
            lines += [
                first_cell,
                *(f"  {heading}: {cell}" for heading, cell in zip(headings[1:], cells, strict=True) if cell),
            ]
        screen.print("\n".join(lines), markup=False, highlight=False)
        return
    for left, name in zip(range(len(words), 0, -1), words, strict=True):
        widths[name] = min(widths[name], room // left)
        room -= widths[name]
    table = Table(title=Text(title) if title else None, title_justify="left", box=None, padding=(0, 1), pad_edge=False)
    for name in headings:
        wraps = name in wrapping
        table.add_column(name, justify="left" if wraps else "right", no_wrap=not wraps, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_fold(cell, widths[name])) for name, cell in zip(headings, row, strict=True)))
    screen.print(table)


def _fold(text: str, width: int) -> str:
    """Return a text on lines of at most ``width`` columns, broken after a space or a slash unless a word is longer."""
    from rich.cells import cell_len

    lines = [""]
    for piece in re.findall(r"[^ /]*[ /]?", text):
        if lines[-1] and cell_len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks by the nearest letters, or by a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(IN_ASCII.get(char, "?") for char in characters), error.end


codecs.register_error(SPELLED, _spell)
