"""The places that a bisection searches: the commits of one line of history, or the versions of a package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from convbench.check.trees import sides
from convbench.check.trees.sides import Side, WorkingTree
from convbench.core import git
from convbench.core.errors import BuildFailed, ConvbenchError
from convbench.core.system import scratch

PIP_TIMEOUT = 1800.0
RELEASE = re.compile(r"\d+(\.\d+)*")


class Span(NamedTuple):
    """What a bisection searches: commits from ``good`` to ``bad``, or ``versions`` such as 2.11..2.13 of a package."""

    good: str
    bad: str = "HEAD"
    package: str = ""
    versions: str = ""
    build: str = ""

    def line(self, working_tree: WorkingTree) -> Line:
        """Return the line of these places. Raises ConvbenchError if there is none."""
        if self.package:
            return Versions.between(working_tree, self.package, self.versions)
        return Commits.between(working_tree, self.good, self.bad, self.build)


class Line(Protocol):
    """Places in order: the first is good, the last is bad."""

    @property
    def places(self) -> tuple[str, ...]: ...

    @property
    def build(self) -> str:
        """The command that builds the code of a place; empty if there is none."""
        ...

    @property
    def code(self) -> str | None:
        """The commit of other code that every place is measured with; empty without any, None if no commit has it."""
        ...

    def name(self, place: int) -> str:
        """Return the name by which people know a place."""
        ...

    @contextmanager
    def side(self, place: int) -> Iterator[Side]:
        """Yield the code of a place, ready to import. Raises BuildFailed if it cannot be made."""
        ...


@dataclass(frozen=True)
class Commits:
    """The commits from good to bad, by first parents, each with its subject."""

    working_tree: WorkingTree
    build: str
    places: tuple[str, ...]
    subjects: tuple[str, ...]
    code: str | None = ""

    @classmethod
    def between(cls, working_tree: WorkingTree, good: str, bad: str, build: str) -> Commits:
        """Return the commits from good to bad. Raises ConvbenchError if no line of history leads there."""
        commits = []
        for name, ref in (("--good", good), ("--bad", bad)):
            commit = git.commit(working_tree.top, ref)
            if commit is None:
                raise ConvbenchError(git.why_not(working_tree.top, f"{name} {ref!r}", ref, only_commits=True))
            commits.append(commit)
        if commits[0] == commits[1]:
            raise ConvbenchError(f"--good {good} and --bad {bad} are the same commit {commits[0][:12]}: name two")
        history = git.first_parent_commits(working_tree.top, commits[0], commits[1])
        if history is None:
            raise ConvbenchError(git.why_no_first_parents(working_tree.top, good, bad))
        return cls(
            working_tree, build, tuple(commit for commit, _ in history), tuple(subject for _, subject in history)
        )

    def name(self, place: int) -> str:
        return f"{self.places[place][:12]} {self.subjects[place]}".strip()

    @contextmanager
    def side(self, place: int) -> Iterator[Side]:
        with (
            sides.scratch_folder() as folder,
            sides.materialise(self.places[place], self.working_tree, folder, self.build) as side,
        ):
            yield side


@dataclass(frozen=True)
class Versions:
    """The versions of a package, each put before this environment's own, with the working tree as it stands."""

    working_tree: WorkingTree
    package: str
    places: tuple[str, ...]
    build: str = ""

    @classmethod
    def between(cls, working_tree: WorkingTree, package: str, span: str) -> Versions:
        """Return the versions in a span such as ``2.11..2.13``. Raises ConvbenchError if it has fewer than two."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", package):
            raise ConvbenchError(f"--package {package!r}: give the name of a package, as in --package torch 2.11..2.13")
        first, _, last = span.partition("..")
        if not (RELEASE.fullmatch(first) and RELEASE.fullmatch(last)):
            raise ConvbenchError(f"--package {package} {span}: name two versions, as in 2.11..2.13")
        good, bad = _numbers(re.sub(r"(\.0)+$", "", first)), _numbers(last)  # 2.11 is as late as 2.11.0
        if good[: len(bad)] > bad:
            raise ConvbenchError(f"--package {package} {span}: {first} is later than {last}")
        versions = [
            version
            for version in _versions(package)
            if good <= _numbers(version) and _numbers(version)[: len(bad)] <= bad
        ]
        if len(versions) < 2:
            names = ", ".join(versions) or "none"
            raise ConvbenchError(f"--package {package} {span}: pip finds {names} there, but two versions are needed")
        return cls(working_tree, package, tuple(versions))

    @property
    def code(self) -> str | None:
        return (
            None
            if git.uncommitted(self.working_tree.top, self.working_tree.written_files)
            else git.commit(self.working_tree.top, "HEAD")
        )

    def name(self, place: int) -> str:
        return f"{self.package} {self.places[place]}"

    @contextmanager
    def side(self, place: int) -> Iterator[Side]:
        requirement = f"{self.package}=={self.places[place]}"
        with sides.scratch_folder() as folder, sides.materialise(".", self.working_tree, folder) as side:
            options = ("--no-deps", "--only-binary", ":all:", "--target", str(folder / "over"))
            _pip("install", *options, requirement, **scratch.mark(folder))
            yield replace(side, paths=(folder / "over", *side.paths), label=self.name(place))


def _versions(package: str) -> list[str]:
    """Return the versions that pip could install here, the oldest first."""
    match = re.search(r"Available versions: (.*)", _pip("index", "versions", package))
    versions = (version.partition("+")[0] for version in match[1].split(", ")) if match else ()
    return sorted(dict.fromkeys(filter(RELEASE.fullmatch, versions)), key=_numbers)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _pip(*words: str, **variables: str) -> str:
    """Return the output of pip. ``variables`` are added to its environment. Raises BuildFailed."""
    command = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input", *words]
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PIP_TIMEOUT,
            check=False,
            env=os.environ | variables,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"pip {words[0]} {words[-1]}: {error}") from error
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "ERROR" in line] or result.stderr.splitlines()[-1:]
        raise BuildFailed(f"{words[-1]} is not available here: pip {words[0]} said {' '.join(lines[-1:]).strip()!r}")
    return result.stdout
