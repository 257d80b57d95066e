"""List stored runs: which suite, code and machine each is of, and what became of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from convbench.analysis.history import contents
from convbench.analysis.history.overview import no_run
from convbench.analysis.history.series import moment, require_date
from convbench.core.errors import ConvbenchError, StoreError
from convbench.core.storage import index
from convbench.core.storage.index import Index, RunEntry
from convbench.core.text import counted


def runs_of(roots: Sequence[Path], suite: str = "", machine: str = "", since: str = "") -> list[RunEntry]:
    """Return every run below the folders, the newest first: copies, shards and runs that cannot be read, too.

    ``suite`` and ``machine`` are globs, the latter for a part of the machine's words in any case of letters; ``since``
    is a date. A run that cannot be read has none of these, and is returned only without them. Raises StoreError if
    there is no run, ConvbenchError if none is left or ``since`` is no date.
    """
    require_date(since)
    entries = list(index.ask(roots, contents.read, partial(Index.entries, with_copies=True)).values())
    if not entries:
        raise StoreError(no_run(roots))
    matches = [
        entry
        for entry in entries
        if fnmatchcase(entry.name, suite or "*")
        and fnmatchcase(entry.machines.lower(), f"*{machine.lower()}*")
        and (not since or moment(entry.started) >= moment(since))
    ]
    if not matches:
        criteria = {"--suite": suite, "--machine": machine, "--since": since}
        options = " ".join(f"{option} {text}" for option, text in criteria.items() if text)
        newest = max(entries, key=lambda entry: moment(entry.started))
        words = f"{newest.name or 'no suite'}, {newest.machines or 'no machine'}, {newest.started or 'no date'}"
        raise ConvbenchError(f"{options}: none of {counted(len(entries), 'run')} matches; the newest is of {words}")
    return sorted(matches, key=lambda entry: (moment(entry.started), entry.path), reverse=True)
