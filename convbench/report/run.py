"""A run on disk as an object: its records, a table of them, its answer in words and its page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convbench.analysis import table
from convbench.core import metrics, showing
from convbench.core.arguments import names_arguments
from convbench.core.errors import ConvbenchError
from convbench.core.record import Record, RunDescription
from convbench.core.storage import store
from convbench.core.system import files

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """A run on disk: its ``directory``, its ``description`` (suite, protocol, environment) and one record per case.

    ``records`` hold raw samples in base units: seconds, bytes, MACs.
    """

    directory: Path
    description: RunDescription
    records: tuple[Record, ...]

    def frame(self) -> pd.DataFrame:
        """Return one row per case with the columns of ``results.csv``, in base units; gaps are ``pandas.NA``.

        ``convbench list columns`` explains each column and its unit.

        All columns have pandas' nullable types, even if nothing was measured, so that frames of several runs can be
        joined.
        """
        frame = table.frame(self.records).convert_dtypes()  # whole numbers stay whole beside a gap
        units = {column.name: column.unit for column in table.columns()}
        empty_columns = frame.columns[frame.isna().all()]  # pandas leaves these untyped
        return frame.astype({name: "Int64" if units[name] else "string" for name in empty_columns})

    def answer(self) -> str:
        """Return what to use, and the measurements behind it, as one paragraph."""
        from convbench.report.words import answer

        return answer.answer(self.description, self.records)

    @names_arguments
    def report(self, out: str | Path | None = None) -> Path:
        """Write the page to the file ``out.html``, or as ``index.html`` in the folder ``out`` or beside the run.

        Returns the page's path. Raises ConvbenchError if ``out`` is missing and the run's directory no longer exists.
        """
        from convbench.report.page import run

        if out is None and not store.exists(self.directory):  # writing would create it anew, perhaps elsewhere
            raise ConvbenchError(
                f"{self.directory}: no run is there; if the path is relative, the working directory may have changed: "
                "name another place, as in report(out)"
            )
        folder = self.directory if out is None else files.path_of("out", out)
        return run.write(self.description, self.records, files.destination(folder, "index.html"), self.directory)

    def __repr__(self) -> str:
        states = [record.status for record in self.records]
        counts = (f"{states.count(state)} {state}" for state in ("ok", "failed", "skipped") if state in states)
        return f"Run({self.description.name!r}, {', '.join(counts) or 'no cases'}, in {str(self.directory)!r})"

    def _repr_html_(self) -> str:
        latency = (metrics.LATENCY_MEDIAN, metrics.LATENCY_LOW, metrics.LATENCY_HIGH)
        columns = ["case", *(metric.name for metric in (*latency, metrics.PARAMS, metrics.MACS)), "status"]
        rows = self.frame()[columns].to_html(index=False, max_rows=30)
        return showing.table(repr(self), [("answer", self.answer())]) + rows
