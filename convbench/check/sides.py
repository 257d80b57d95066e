"""Base and head as what can be measured: a git ref, a wheel, a directory or the working tree, made ready to import.

A ref becomes a git worktree in a scratch folder and is gone afterwards, however the check ends; one that a killed check
left behind is removed by the next.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from importlib.machinery import all_suffixes
from pathlib import Path

from convbench.check import worktrees
from convbench.check.wheel import unpack
from convbench.core import code, git, scratch
from convbench.core.errors import BuildFailed, ConvbenchError
from convbench.core.text import cut

BUILD_TIMEOUT = 900.0
SHELL = {"&&", "||", "|", ">", ">>"}
NO_SHELL = "no shell runs it: write --build \"sh -c '...'\""


@dataclass(frozen=True)
class Side:
    """Code that workers import: ``root`` is its tree (None for a wheel), ``cwd`` and ``paths`` where modules are found.

    ``suite`` is the file that stands in this tree where the head's suite stands in its own; ``empty`` are submodules
    that could not be filled; ``checkout_of`` is the working tree beside which a commit was checked out; ``changes`` are
    the files of the tree that are not as its commit has them.
    """

    label: str
    root: Path | None
    cwd: Path
    paths: tuple[Path, ...]
    python: str = sys.executable
    commit: str | None = None
    changes: tuple[str, ...] = ()
    suite: Path | None = None
    empty: tuple[str, ...] = ()
    checkout_of: Path | None = None

    @property
    def dirty(self) -> bool:
        return bool(self.changes)

    def hint(self, reason: str) -> str:
        """Words that follow why it fails: of a checkout what it lacks, and what to do; empty where that is not why."""
        if not re.search("No module named|No such file|cannot be imported", reason):
            return ""
        if self.empty:
            names = ", ".join(self.empty)
            return f"; its submodules {names} are empty: git submodule update --init, with their history"
        for text in re.findall(r"'([^']{1,200})'", reason):
            if path := self._ignored_path(text):
                return f"; git ignores {path}, so that no checkout has it: make it, or copy it there, by --build"
        return ""

    def _ignored_path(self, text: str) -> str:
        """The file or module of that name which only the working tree has, and git ignores; empty for none."""
        if not (self.root and self.checkout_of):
            return ""
        modules = (folder / text.replace(".", "/") for folder in self.paths)
        places = [self.cwd / text, *(Path(f"{module}{end}") for module in modules for end in ("", *all_suffixes()))]
        for path in (place.relative_to(self.root) for place in places if place.is_relative_to(self.root)):
            lacks = (self.checkout_of / path).exists() and not (self.root / path).exists()
            if lacks and git.ignores(self.checkout_of, path):
                return str(path)
        return ""


@dataclass(frozen=True)
class Base:
    """What to compare with, as one asks for it: a ref, wheel or directory, its interpreter and its build command."""

    name: str
    python: str = ""
    build: str = ""


@dataclass(frozen=True)
class Here:
    """Where the check was called: the tree that is the head, the suite's file and the working directory in it.

    ``written_files`` are those that the check itself writes: they do not change the code.
    """

    top: Path
    cwd: Path
    suite: Path | None
    written_files: tuple[Path, ...] = ()

    @classmethod
    def at(cls, cwd: Path, suite: str, written_files: tuple[Path, ...] = ()) -> Here:
        """Raises ConvbenchError for a folder that no list of folders can hold, by which a worker finds modules."""
        cwd, path = cwd.resolve(), Path(suite)
        if os.pathsep in str(cwd):
            raise ConvbenchError(f"{cwd}: its path holds {os.pathsep!r}, which separates folders: move or rename it")
        top = git.top(cwd)
        return cls(top or cwd, cwd, path.resolve() if path.is_file() else None, written_files)

    def paths(self, root: Path) -> tuple[Path, ...]:
        """Where modules are looked for with ``root`` in the place of the tree: as ``convbench run`` does, and src/."""
        search_path = [Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        roots = [self.cwd, *([self.suite.parent] if self.suite else []), self.top, self.cwd / "src", self.top / "src"]
        folders = [*roots, *search_path, *self._editable_folders()]
        return tuple(dict.fromkeys(self.path_in(path, root) for path in folders))

    def _editable_folders(self) -> list[Path]:
        """The folders of the tree that ``pip install -e`` has put on the path: both sides would import them of head."""
        library = sysconfig.get_path("stdlib")  # an environment may lie in the tree
        entries = [Path(entry) for entry in sys.path if entry and not Path(entry).is_relative_to(library)]
        return [path for path in entries if path.is_relative_to(self.top) and not code.is_installed(path)]

    def path_in(self, path: Path, root: Path) -> Path:
        """The same place in another tree, for what lies in this one."""
        return root / path.relative_to(self.top) if path.is_relative_to(self.top) else path

    def cwd_in(self, root: Path) -> Path:
        """The working directory in another tree; its root where that has no such folder."""
        cwd = self.path_in(self.cwd, root)
        return cwd if cwd.is_dir() else root


def scratch_folder() -> AbstractContextManager[Path]:
    """A scratch folder, by whose name git's worktrees of killed checks are known."""
    return scratch.folder(scratch.PREFIX_OF_CHECK)


@contextmanager
def materialise(name: str, here: Here, folder: Path, build: str = "") -> Iterator[Side]:
    """The side that ``name`` names, ready to import: ``.`` is the tree as it stands, else a ref, wheel or directory.

    Raises ConvbenchError where there is no such thing, BuildFailed where it cannot be made.
    """
    path = _path(name)
    if build and (name == "." or name.endswith(".whl")):
        base = "the working tree" if name == "." else name
        raise ConvbenchError(f"--build {build!r}: it builds a ref or a directory, and base is {base}")
    if name.endswith(".whl"):
        yield _wheel(path, here, folder)
    elif name == ".":
        yield _tree("working tree", here.top, here)
    elif commit := git.commit(here.top, name):
        with worktrees.checkout(here.top, commit, folder):
            empty = worktrees.fill_submodules(here.top, commit, folder / "base")
            _build(build, folder / "base", here, folder)
            label = f"{name} ({commit[:12]})" if not commit.startswith(name) else commit[:12]
            # What its build leaves there is no change: a commit and a command say what it is.
            yield replace(_tree(label, folder / "base", here), empty=empty, changes=(), checkout_of=here.top)
    elif path.is_dir():
        _build(build, path.resolve(), here, folder)
        yield _tree(name, path.resolve(), here)
    else:
        raise ConvbenchError(git.why_not(here.top, f"base {name!r}", name))


def is_working_tree(name: str, here: Here) -> bool:
    """Whether that names the tree that head is, by ``.`` or by its path."""
    return name == "." or (git.commit(here.top, name) is None and _path(name).resolve() == here.top)


def with_python(side: Side, python: str, folder: Path) -> Side:
    """The side run by another interpreter, which needs torch and what convbench needs, and is lent this convbench."""
    program = shutil.which(python)
    if program is None:
        raise ConvbenchError(f"--base-python {python!r}: no such program")
    package = Path(__file__).parents[1]
    (folder / "lent").mkdir()
    (folder / "lent" / package.name).symlink_to(package)
    label = f"{side.label}, {python}"
    program = str(Path(program).absolute())  # a worker starts in its tree; not resolved: a venv's python is a link
    return replace(side, python=program, paths=(*side.paths, folder / "lent"), label=label)


def _tree(label: str, root: Path, here: Here) -> Side:
    suite = here.path_in(here.suite, root) if here.suite else None
    is_own = git.top(root) == root.resolve()  # a folder within a repository holds whatever was put there, and no commit
    commit, changes = (git.commit(root, "HEAD"), git.uncommitted(root, here.written_files)) if is_own else (None, ())
    return Side(label, root, here.cwd_in(root), here.paths(root), commit=commit, changes=changes, suite=suite)


def _wheel(wheel: Path, here: Here, folder: Path) -> Side:
    target = folder / "wheel"
    unpack(wheel, target)
    return Side(wheel.name, None, here.cwd, (target, *here.paths(here.top)))


def _build(command: str, root: Path, here: Here, folder: Path) -> None:
    """Run a command in a tree, where one stands in it; what it leaves running ends with the scratch folder."""
    if command:
        environment = {**git.environment(), **scratch.mark(folder)}
        _run(_words(command), here.cwd_in(root), environment, f"--build {command!r} failed in {root.name}")


def _words(command: str) -> list[str]:
    """A command's words. Raises ConvbenchError where it has none, or one of a shell's, which would be an argument."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConvbenchError(f"--build {command!r}: {error}") from error
    if not words:
        raise ConvbenchError(f"--build {command!r}: there is no command in it")
    if shell_words := SHELL.intersection(words):
        raise ConvbenchError(f"--build {command!r}: {min(shell_words)} is a shell's, and {NO_SHELL}")
    return words


def _path(name: str) -> Path:
    """Raises ConvbenchError for what no path can be, such as the home of nobody, or a name of thousands of letters."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConvbenchError(f"base {cut(name, 80)!r} cannot be a path ({reason})") from error
    return path


def _run(command: list[str], cwd: Path, environment: dict[str, str], failure: str) -> None:
    try:
        with subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        ) as process:
            try:
                output, errors = process.communicate(timeout=BUILD_TIMEOUT)
            except BaseException:
                scratch.kill_group(process)  # with its compilers
                raise
    except FileNotFoundError as error:  # cd, or a variable's assignment
        raise BuildFailed(f"{failure}: there is no program {command[0]!r}, and {NO_SHELL}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"{failure}: {error}") from error
    if process.returncode:
        lines = (errors or output).decode(errors="replace").strip().splitlines()[-3:] or ["it printed nothing"]
        raise BuildFailed(f"{failure} (exit code {process.returncode}): {' | '.join(lines)}")
