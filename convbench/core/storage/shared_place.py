"""Places where runs are shared: a folder, or what fsspec opens (``s3://bucket/perf``). No server of ours is needed.

A run is there whole or not at all: its ``run.json``, without which it is no run, is written last.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from convbench.core.errors import ConvbenchError, StoreError
from convbench.core.storage import store
from convbench.core.storage.run_folders import runs_below
from convbench.core.system import files
from convbench.core.text import short_name

FILES = (store.RESULTS, store.RUN)
"""The files of a run that are shared, in the order in which they are written."""
CONFIRMED = "confirmed"
"""The folder of a store that keeps what paired checks confirmed."""
ELSEWHERE = "name another place"
Content = Mapping[str, bytes]
"""The files of a run by name; the one file of a confirmation has the empty name."""
_NAME = r"[^./\\][^/\\]*"
_KEY = re.compile(rf"(?P<confirmed>{CONFIRMED}/{_NAME}\.json)|(?P<run>{_NAME}(?:/{_NAME})*)/{re.escape(store.RUN)}")
"""Matches the files that make a confirmation or a run, as paths inside the place; other files there are not ours."""


def open_place(name: str) -> SharedPlace:
    """Return the place of that name: a folder, or what fsspec opens for a URL.

    Raises ConvbenchError for an empty text, for a URL that cannot be opened, and for a text that begins like a URL or
    like ``host:path`` unless there is such a folder.
    """
    scheme, separator, path = name.partition("://")
    if separator and scheme != "file":
        return Remote.at(name)
    if not separator and re.match(r"[\w.+@-]{2,}:", name) and not Path(name).exists():
        remedy = f"a URL has two slashes, such as s3://BUCKET/PATH; a new folder is written ./{name}"
        raise ConvbenchError(f"{short_name(name)}: there is no such folder: {remedy}")
    return Folder(files.path_of("PLACE", path if separator else name))


@dataclass(frozen=True)
class Folder:
    """A folder with shared runs, each in a folder of its own, into which several processes may write at once.

    Runs that somebody put there by hand may lie deeper: their names have a slash.
    """

    root: Path

    def exists(self) -> bool:
        return self.root.is_dir()

    def is_run(self) -> bool:
        """Whether the place itself is a run, rather than a place of runs."""
        return store.exists(self.root)

    def names(self) -> set[str]:
        """Return the names of the runs, and of the confirmations as ``confirmed/NAME.json``."""
        runs = (directory / store.RUN for directory in runs_below(self.root))
        paths = chain(runs, self.root.glob(f"{CONFIRMED}/*.json"))
        return names_in(path.relative_to(self.root).as_posix() for path in paths)

    def is_measured(self, name: str) -> bool:
        """Whether a run is still being measured there, in its own directory."""
        return store.is_measured(self.root / name)

    def read(self, name: str) -> Content:
        place = self.root / name
        if place.is_file():
            return {"": place.read_bytes()}
        return {file: (place / file).read_bytes() for file in FILES if (place / file).exists()}

    def holds(self, name: str, content: Content) -> bool:
        """Whether the place may have all of that content under a name, or more.

        Sizes are compared first, so that a store on a network drive is not read whole at every push.
        """
        with suppress(FileNotFoundError):
            is_as_large = all((self.root / name / file).stat().st_size == len(data) for file, data in content.items())
            return is_as_large or not is_part(self.read(name), content)
        return False

    def write(self, name: str, content: Content) -> None:
        """Write the files in their order, whole or not at all."""
        for file, data in content.items():
            files.write(self.root / name / file, data, ELSEWHERE)


@dataclass(frozen=True)
class Remote:
    """The same behind a URL that fsspec opens. ``sizes`` are those of its files by path, as last listed."""

    system: Any
    root: str
    sizes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def at(cls, url: str) -> Remote:
        """Open a URL. Raises ConvbenchError if its package is missing, or there is no such kind of place."""
        try:
            system, root = importlib.import_module("fsspec.core").url_to_fs(url)
        except ImportError as error:
            raise ConvbenchError(f"{url}: it needs the extra convbench[remote] ({error})") from error
        except ValueError as error:
            raise ConvbenchError(f"{url}: not a place that fsspec knows ({error})") from error
        return cls(system, root.rstrip("/"))

    def exists(self) -> bool:
        return bool(self.system.exists(self.root))

    def is_run(self) -> bool:
        return bool(self.system.exists(f"{self.root}/{store.RUN}"))

    def names(self) -> set[str]:
        self.sizes.clear()
        with suppress(FileNotFoundError):
            self.system.invalidate_cache()
            entries = self.system.find(self.root, detail=True)
            self.sizes.update({key[len(self.root) :].strip("/"): entry["size"] for key, entry in entries.items()})
        return names_in(self.sizes)

    def read(self, name: str) -> Content:
        place = f"{self.root}/{name}"
        if name.startswith(f"{CONFIRMED}/"):
            return {"": self.system.cat_file(place)}
        paths = {file: f"{place}/{file}" for file in FILES}
        return {file: self.system.cat_file(path) for file, path in paths.items() if self.system.exists(path)}

    def holds(self, name: str, content: Content) -> bool:
        """Compare sizes first: they came with the names, and tell whole files from what a killed writer left."""
        is_as_large = all(self.sizes.get(f"{name}/{file}".rstrip("/")) == len(data) for file, data in content.items())
        with suppress(FileNotFoundError):
            return is_as_large or not is_part(self.read(name), content)
        return False

    def write(self, name: str, content: Content) -> None:
        if self.root.startswith("/"):  # else it begins with a bucket, which has no folders, and a typo would make one
            folder = CONFIRMED if "" in content else name
            self.system.makedirs(f"{self.root}/{folder}", exist_ok=True)
        for file, data in content.items():
            self.system.pipe_file(f"{self.root}/{name}/{file}".rstrip("/"), data)


SharedPlace = Folder | Remote


def is_part(part: Content, content: Content) -> bool:
    """Whether what is there is only a part of a content, such as a folder synchroniser leaves while it copies.

    A run that was resumed is not a part: it has more records, or another description.
    """
    return part != content and all(data.startswith(part.get(file, b"")) for file, data in content.items())


def names_in(keys: Iterable[str]) -> set[str]:
    """Return the runs and confirmations among the files of a place."""
    return {match["confirmed"] or match["run"] for match in map(_KEY.fullmatch, keys) if match}


@contextmanager
def explain(place: str) -> Iterator[None]:
    """Turn whatever a file system raises into a StoreError of one sentence."""
    try:
        yield
    except ConvbenchError:
        raise
    except Exception as error:
        raise StoreError(f"{place}: cannot be used ({type(error).__name__}: {error}): {ELSEWHERE}") from error
