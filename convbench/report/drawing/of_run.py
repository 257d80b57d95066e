"""A figure's drawings of a run. A figure of the user's own that raises ends no page: what it lacks is said."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from convbench.analysis.results import Result
from convbench.core import installed
from convbench.core.errors import typed_line
from convbench.core.registry import Plugin
from convbench.report.drawing import Drawing


def drawings(figure: Plugin[Any], results: Sequence[Result]) -> Iterator[Drawing]:
    """All of a figure, up to where it raises, which is then noted as plug-ins are that cannot be loaded.

    Raises what a figure of convbench's own does.
    """
    try:
        for drawing in figure.build(results):
            if not isinstance(drawing, Drawing):
                raise TypeError(f"it draws {type(drawing).__name__}, not a convbench.report.drawing.Drawing")
            yield drawing
    except Exception as error:
        if figure.origin == installed.OWN:
            raise
        installed.note(
            figure.origin, f"the figure {figure.name!r} raised {typed_line(error)} ({_place(figure, error)})"
        )


def _place(figure: Plugin[Any], error: Exception) -> str:
    """The last line of the figure's own file that led to the error."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == inspect.getsourcefile(inspect.unwrap(figure.build))]
    last = (own or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
