"""An index of many stored runs: their numbers in SQLite, made from the run directories, which stay the only truth.

It lies in the user's cache and may be deleted at any time. A run whose files have changed their time or size is read
again; a run that is gone is forgotten. Of several copies of a run only the one that was resumed last is shown, and the
shards of a merged run are not shown beside it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

from convbench.core.errors import StoreError
from convbench.core.metric import Metric
from convbench.core.package import __version__
from convbench.core.storage import cache
from convbench.core.storage.run_folders import as_text, run_stamps
from convbench.core.text import digest

T = TypeVar("T")
log = logging.getLogger("convbench")
VERSION = f"7 {__version__}"
"""The version of the index; it includes convbench's, because another convbench may compute other numbers."""
DAMAGED = sqlite3.SQLITE_ERROR
"""The code of an operation that the content does not allow, such as for a missing table."""
MEMORY = ":memory:"
UNUSED = 7 * 86400.0
"""Seconds after which an unused index is removed: ``history runs/*`` makes another one every night."""
PATIENCE = 900.0
"""Seconds that a process waits for another one that fills the same index."""
BATCH = 50
"""Runs that are read before the index is on disk. A run of 78 cases takes an eighth of a second."""
MANY = 100
"""Most runs that are read without a word."""
TABLES = """
CREATE TABLE run (id INTEGER PRIMARY KEY, path TEXT UNIQUE, stamp TEXT, identity TEXT, name TEXT, started TEXT,
    commit_id TEXT, dirty INTEGER, results INTEGER, missing INTEGER, problem TEXT, kind TEXT,
    failed INTEGER, skipped INTEGER, machines TEXT, latest TEXT, shown INTEGER DEFAULT 1);
CREATE INDEX run_identity ON run (identity);
CREATE TABLE part (run INTEGER, identity TEXT);
CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT UNIQUE);
CREATE TABLE machine (fingerprint TEXT PRIMARY KEY, words TEXT);
CREATE TABLE metric (short TEXT PRIMARY KEY, name TEXT, unit TEXT, better TEXT, title TEXT, number TEXT);
CREATE TABLE number (metric INTEGER, case_id INTEGER, run INTEGER, machine INTEGER, protocol INTEGER, value REAL,
    reference REAL, PRIMARY KEY (metric, case_id, run)) WITHOUT ROWID;
"""
COLUMNS = "path, name, started, commit_id, dirty, results, missing, problem, kind, failed, skipped, machines"
"""The columns of a run's ``RunEntry``, in the order of its fields."""

Problem = Literal["newer", "unreadable", "no results"]
"""Why a run is left out: a newer format, a damaged file, or nothing measured yet."""


class IndexedValue(NamedTuple):
    """One number of a run, in base units, with its metric's option, machine's fingerprint and protocol's digest.

    ``reference`` is the time of the reference workload, in seconds, that was measured beside a time.
    """

    metric: str
    case: str
    machine: str
    protocol: str
    value: float
    reference: float | None


class RunEntry(NamedTuple):
    """A run as the index lists it: where it is, the commit of its code, and the ``problem`` if it is left out.

    ``results`` is the number of cases that it has, ``failed`` and ``skipped`` are among them; ``missing`` is the number
    of planned cases that it does not have. ``kind`` is the kind of the problem, ``machines`` are those of the run in
    words.
    """

    path: str
    name: str = ""
    started: str = ""
    commit: str = ""
    dirty: bool = False
    results: int = 0
    missing: int = 0
    problem: str = ""
    kind: Problem | Literal[""] = ""
    failed: int = 0
    skipped: int = 0
    machines: str = ""


@dataclass(frozen=True)
class Contents:
    """What a reader finds in a run directory; runs with the same ``identity`` are copies of each other.

    ``parts`` are the identities of the runs that are wholly in a merged one; ``latest`` is the time of the last
    measurement.
    """

    entry: RunEntry
    identity: str
    numbers: Sequence[IndexedValue] = ()
    machines: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Metric] = ()
    parts: Sequence[str] = ()
    latest: str = ""


Reader = Callable[[Path], Contents]
ValueRow = tuple[int, str, str, str, float, float | None]
"""Run, case, machine, protocol, value, reference."""


def ask(roots: Sequence[Path], reader: Reader, question: Callable[[Index], T]) -> T:
    """Answer ``question`` from the up-to-date index of all runs below ``roots``; it may be asked twice.

    The index is kept in the user's cache. It is made anew if it is damaged, and in memory if it cannot be kept. Raises
    StoreError if a root is not a folder.
    """
    for root in roots:
        if not root.is_dir():
            raise StoreError(f"{root}: there is no such folder: name run directories, or a folder that holds them")
    folders = [root.resolve() for root in roots]
    place = cache.folder() / "history" / f"{digest(*sorted(map(os.fspath, folders)))}.sqlite"
    for _ in range(2):
        try:
            return _answer(place, folders, reader, question)
        except OSError:  # no place for a file
            break
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", DAMAGED)  # none for a text that is not UTF-8
            if isinstance(error, sqlite3.OperationalError) and code != DAMAGED:  # such as a process that never ends
                break
            with suppress(OSError):
                place.unlink()
    return _answer(MEMORY, folders, reader, question)


class Index:
    """The numbers of runs, by metric and case. Its methods raise SQLite's own errors."""

    def __init__(self, place: str) -> None:
        self._db = sqlite3.connect(place, timeout=PATIENCE, isolation_level=None)
        # A crash of the machine must not spoil the index: half a page of other content is not always noticed.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._words: dict[str, int] = {}
        self._folders: dict[str, str] = {}
        self._begin()

    def close(self) -> None:
        self._db.close()

    def refresh(self, roots: Sequence[Path], reader: Reader) -> None:
        """Read the runs that are new or changed, a batch at a time: what an interrupted process has read stays.

        Two processes that do so wait for each other's batches.
        """
        folders = {as_text(folder): (folder, stamp) for root in roots for folder, stamp in run_stamps(root)}
        self._folders = {name: folder for name, (folder, _) in folders.items()}
        current_stamps = {name: stamp for name, (_, stamp) in folders.items()}
        stored_stamps = self._stamps()
        if current_stamps == stored_stamps:
            return
        new_paths = [path for path, stamp in current_stamps.items() if stored_stamps.get(path) != stamp]
        if len(new_paths) > MANY:
            log.warning("convbench: reading %d new runs; the next answer takes them from an index", len(new_paths))
        for start in range(0, max(1, len(new_paths)), BATCH):  # once if there is no new run: another one is gone
            with self._transaction():
                stored_stamps = self._stamps()
                batch = [
                    path for path in new_paths[start : start + BATCH] if stored_stamps.get(path) != current_stamps[path]
                ]
                self._forget([path for path in stored_stamps if path in batch or path not in current_stamps])
                for path in batch:
                    self._add(reader(Path(folders[path][0])), path, current_stamps[path])
                self._hide_copies()

    @contextmanager
    def snapshot(self) -> Iterator[Self]:
        """Keep the index unchanged while it is queried: what another process adds meanwhile is for the next query."""
        self._db.execute("BEGIN")
        try:
            yield self
        finally:
            self._db.execute("ROLLBACK")

    def entries(self, with_copies: bool = False) -> dict[int, RunEntry]:
        """Return the runs that are shown, by number, or with their copies and the shards of merged runs, too."""
        rows = self._db.execute(f"SELECT id, {COLUMNS} FROM run WHERE shown OR ?", (with_copies,))
        return {number: self._entry(*row) for number, *row in rows}

    def cases(self) -> list[str]:
        rows = self._db.execute("SELECT text FROM word WHERE id IN (SELECT DISTINCT case_id FROM number)")
        return sorted(text for (text,) in rows)

    def machines(self) -> dict[str, str]:
        """Return the machine of each fingerprint, in words."""
        return dict(self._db.execute("SELECT fingerprint, words FROM machine"))

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics that any run has, by their options."""
        rows = self._db.execute("SELECT short, name, unit, better, title, number FROM metric ORDER BY short")
        return {
            short: Metric(name, unit, better, title, number=number, short=short)
            for short, name, unit, better, title, number in rows
        }

    def rows(self, metric: str, cases: Iterable[str] | None = None) -> Iterator[ValueRow]:
        """Yield the numbers of a metric in the runs that are shown, case by case; for these cases, or for all."""
        condition = (
            "" if cases is None else "AND n.case_id IN (SELECT id FROM word WHERE text IN (SELECT value FROM wanted))"
        )
        if cases is not None:
            self._db.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (value TEXT)")
            self._db.execute("DELETE FROM wanted")
            self._db.executemany("INSERT INTO wanted VALUES (?)", ((case,) for case in cases))
        yield from self._db.execute(
            "SELECT n.run, c.text, m.text, p.text, n.value, n.reference FROM number n JOIN run r ON r.id = n.run "
            "JOIN word c ON c.id = n.case_id JOIN word m ON m.id = n.machine JOIN word p ON p.id = n.protocol "
            f"WHERE n.metric = (SELECT id FROM word WHERE text = ?) AND r.shown {condition} ORDER BY n.case_id",
            (metric,),
        )

    def _entry(self, path: str, *values: Any) -> RunEntry:
        """Return a run with the path that the system knows, which the index may hold with escapes."""
        entry = RunEntry(path, *values)
        folder = self._folders.get(path, path)
        return entry._replace(path=folder, dirty=bool(entry.dirty), problem=entry.problem.replace(path, folder))

    def _begin(self) -> None:
        """Make the tables, or make them anew if another version of convbench made them."""
        if self._version() == VERSION:
            return
        with self._transaction():
            if self._version() == VERSION:  # another process was faster
                return
            for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                self._db.execute(f'DROP TABLE IF EXISTS "{name}"')
            for statement in TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute("CREATE TABLE version (text TEXT)")
            self._db.execute("INSERT INTO version VALUES (?)", (VERSION,))

    def _version(self) -> str | None:
        with suppress(sqlite3.OperationalError):
            for (text,) in self._db.execute("SELECT text FROM version"):
                return str(text)
        return None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _stamps(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT path, stamp FROM run"))

    def _forget(self, paths: Sequence[str]) -> None:
        if not paths:
            return
        numbers = [self._db.execute("SELECT id FROM run WHERE path = ?", (path,)).fetchone() for path in paths]
        ids = ",".join(str(number) for (number,) in numbers)
        for table in ("number", "part"):
            self._db.execute(f"DELETE FROM {table} WHERE run IN ({ids})")
        self._db.executemany("DELETE FROM run WHERE path = ?", ((path,) for path in paths))

    def _add(self, contents: Contents, path: str, stamp: str) -> None:
        entry = contents.entry
        # If a run cannot be read, both contain its path.
        identity, problem = map(as_text, (contents.identity, entry.problem))
        values = (path, stamp, identity, *entry._replace(problem=problem)[1:], contents.latest)
        placeholders = ",".join("?" * len(values))
        columns = COLUMNS.replace("path", "path, stamp, identity")
        run = self._db.execute(f"INSERT INTO run ({columns}, latest) VALUES ({placeholders})", values).lastrowid
        self._db.executemany("INSERT INTO part VALUES (?, ?)", ((run, identity) for identity in contents.parts))
        self._db.executemany("INSERT OR REPLACE INTO machine VALUES (?, ?)", contents.machines.items())
        metric_rows = (
            (metric.option, metric.name, metric.unit, metric.better, metric.title, metric.number)
            for metric in contents.metrics
        )
        self._db.executemany("INSERT OR REPLACE INTO metric VALUES (?, ?, ?, ?, ?, ?)", metric_rows)
        word = self._word
        self._db.executemany(
            "INSERT OR REPLACE INTO number VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((word(number.metric), word(number.case), run, word(number.machine), word(number.protocol), *number[4:])
             for number in contents.numbers),
        )  # fmt: skip

    def _word(self, text: str) -> int:
        """Return the number of a text, which the index holds once."""
        if text not in self._words:
            self._db.execute("INSERT OR IGNORE INTO word (text) VALUES (?)", (text,))
            self._words[text] = self._db.execute("SELECT id FROM word WHERE text = ?", (text,)).fetchone()[0]
        return self._words[text]

    def _hide_copies(self) -> None:
        """Show each measurement once.

        Of several copies the latest is shown. The number of results does not tell them apart: a copy that
        ``--resume=stale`` set aside has as many, some of them of other code.
        """
        self._db.execute(
            "UPDATE run SET shown = identity NOT IN (SELECT identity FROM part) AND id = (SELECT o.id FROM run o "
            "WHERE o.identity = run.identity ORDER BY o.latest DESC, o.results DESC, o.path LIMIT 1)"
        )


def _answer(place: Path | str, roots: Sequence[Path], reader: Reader, question: Callable[[Index], T]) -> T:
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            place.touch()
        _remove_unused(place.parent)
    with closing(Index(str(place))) as index:
        index.refresh(roots, reader)
        with index.snapshot():
            return question(index)


def _remove_unused(folder: Path) -> None:
    for place in folder.glob("*.sqlite"):
        with suppress(OSError):
            if time.time() - place.stat().st_mtime > UNUSED:
                place.unlink()
