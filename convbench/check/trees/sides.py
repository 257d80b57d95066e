"""Make base and head ready to import: a git ref, a wheel, a directory or the working tree.

A ref becomes a git worktree in a scratch folder, which is removed at the end of the check, however it ends. What a
killed check leaves behind is removed by the next check.
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

from convbench.check.trees import worktrees
from convbench.check.trees.wheel import unpack
from convbench.core import code, git
from convbench.core.errors import BuildFailed, ConvbenchError
from convbench.core.system import scratch
from convbench.core.text import cut

BUILD_TIMEOUT = 900.0
SHELL = {"&&", "||", "|", ">", ">>"}
PATHS = re.compile(r"""['"]([^'"]{1,200})['"]|([^\s'"]{0,200}[./][^\s'"]{1,200})""")
"""What may be a path in a message: anything in quotes, or a word with a dot or a slash in it."""
FROM = re.compile(r"cannot import name '(\w+)' from (?:partially initialized module )?'([\w.]+)'")
"""Python's message if a package lacks a module that it imports from itself, such as an extension to be built."""
NO_SHELL = "no shell runs it: write --build \"sh -c '...'\""


@dataclass(frozen=True)
class Side:
    """Code that workers import: ``root`` is its tree (None for a wheel), ``cwd`` and ``paths`` where modules are found.

    ``suite`` is the file in this tree at the place of head's suite in its own; ``empty`` are submodules that could not
    be filled; ``checkout_of`` is the working tree of the repository of which this is a commit; ``changes`` are the
    files of the tree that differ from its commit; ``build`` is the command that built the tree. ``is_elsewhere`` says
    that the environment's editable installs are of another tree, the working tree; ``not_from`` are their folders, from
    which nothing may be imported. ``alias`` is what messages call the
    side in place of base or head.
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
    build: str = ""
    is_elsewhere: bool = False
    not_from: tuple[Path, ...] = ()
    alias: str = ""

    @property
    def dirty(self) -> bool:
        return bool(self.changes)

    def hint(self, reason: str) -> str:
        """Return what a checkout lacks and what to do, to follow a failure's reason; empty if that is not the cause."""
        if "failed to map segment" in reason:
            return f"; no code can be run from {self.root} (mounted with noexec): set TMPDIR to a folder elsewhere"
        reason = FROM.sub(r"No module named '\2.\1'", reason)
        if not re.search("No module named|No such file|cannot be imported|does not exist", reason):
            return ""
        for quoted_text, word in PATHS.findall(reason):
            path = self._lacking_path(quoted_text or word)
            if path and not any(path.is_relative_to(submodule) for submodule in self.empty):
                if self.checkout_of and git.ignores(self.checkout_of, path):
                    return f"; git ignores {path}, so no checkout has it: make it or copy it there with --build"
                return f"; only the working tree has {path}: it is newer, or was renamed: nothing to compare"
        top = self.checkout_of
        return "".join(f"; {git.why_unfilled(top, path)}" for path in self.empty) if top else ""

    def _lacking_path(self, text: str) -> Path | None:
        """Return the path of a file or module that the working tree has, but not this commit of it; None otherwise."""
        if not (self.root and self.checkout_of):
            return None
        modules = (folder / text.replace(".", "/") for folder in self.paths)
        places = [self.cwd / text, *(Path(f"{module}{end}") for module in modules for end in ("", *all_suffixes()))]
        paths = [Path(os.path.normpath(place)) for place in places]
        for path in (path.relative_to(self.root) for path in paths if path.is_relative_to(self.root)):
            if (self.checkout_of / path).exists() and not (self.root / path).exists():
                return path
        return None


@dataclass(frozen=True)
class Base:
    """The base as it was asked for: a ref, wheel or directory, its interpreter and its build command."""

    name: str
    python: str = ""
    build: str = ""


@dataclass(frozen=True)
class WorkingTree:
    """Where the check was called: head's tree, the working directory in it and the suite's file.

    ``written_files`` are files that the check itself writes: they do not count as changes of the code.
    """

    top: Path
    cwd: Path
    suite: Path | None
    written_files: tuple[Path, ...] = ()

    @classmethod
    def at(cls, cwd: Path, suite: str, written_files: tuple[Path, ...] = ()) -> WorkingTree:
        """Return where a check is called. Raises ConvbenchError if ``cwd`` holds the separator of lists of folders."""
        cwd, path = cwd.resolve(), Path(suite)
        if os.pathsep in str(cwd):
            raise ConvbenchError(f"{cwd}: its path holds {os.pathsep!r}, which separates folders: move or rename it")
        top = git.top(cwd)
        return cls(top or cwd, cwd, path.resolve() if path.is_file() else None, written_files)

    def paths(self, root: Path) -> tuple[Path, ...]:
        """Return where to find modules with ``root`` in the place of the tree: as ``convbench run`` does, and src/."""
        search_path = [Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        roots = [self.cwd, *([self.suite.parent] if self.suite else []), self.top, self.cwd / "src", self.top / "src"]
        folders = [*roots, *search_path, *self._editable_folders()]
        return tuple(dict.fromkeys(self.path_in(path, root) for path in folders))

    def _editable_folders(self) -> list[Path]:
        """Return the tree's folders that ``pip install -e`` put on the path: base must not import those of head."""
        library = sysconfig.get_path("stdlib")  # an environment may lie in the tree
        entries = [Path(entry) for entry in sys.path if entry and not Path(entry).is_relative_to(library)]
        folders = [*entries, *_mapped_folders()]
        return [path for path in folders if path.is_relative_to(self.top) and not code.is_installed(path)]

    def apart(self, side: Side) -> Side:
        """Return another tree's side, which imports nothing that an editable install of this tree put on the path."""
        ours = Path(__file__).parents[2]  # in its own repository, an older tree may lack convbench
        folders = (path for path in self._editable_folders() if path != ours)
        return replace(side, is_elsewhere=True, not_from=tuple(dict.fromkeys(folders)))

    def path_in(self, path: Path, root: Path) -> Path:
        """Return the same place in another tree if the path lies in this one, else the path."""
        return root / path.relative_to(self.top) if path.is_relative_to(self.top) else path

    def cwd_in(self, root: Path) -> Path:
        """Return the working directory in another tree, or its root if it has no such folder."""
        cwd = self.path_in(self.cwd, root)
        return cwd if cwd.is_dir() else root


def scratch_folder() -> AbstractContextManager[Path]:
    """Make a scratch folder. By its name, the worktrees of killed checks are found."""
    return scratch.folder(scratch.PREFIX_OF_CHECK)


@contextmanager
def materialise(name: str, working_tree: WorkingTree, folder: Path, build: str = "") -> Iterator[Side]:
    """Yield the named side, ready to import: ``.`` is the tree as it stands, anything else a ref, wheel or directory.

    Raises ConvbenchError if it does not exist, BuildFailed if it cannot be made.
    """
    refuse_unknown(name, working_tree, build)
    path = _path(name)
    if name.endswith(".whl"):
        yield replace(_wheel(path, working_tree, folder), is_elsewhere=True)
    elif name == ".":
        yield _tree("working tree", working_tree.top, working_tree)
    elif commit := git.commit(working_tree.top, name):
        with worktrees.checkout(working_tree.top, commit, folder):
            empty = worktrees.fill_submodules(working_tree.top, commit, folder / "base")
            _build(build, folder / "base", working_tree, folder)
            label = f"{name} ({commit[:12]})" if not commit.startswith(name) else commit[:12]
            # Files that the build leaves are no changes: the commit and the command fully describe the side.
            side = replace(_tree(label, folder / "base", working_tree), commit=commit, changes=(), build=build)
            yield replace(working_tree.apart(side), empty=empty, checkout_of=working_tree.top)
    else:
        _build(build, path.resolve(), working_tree, folder)
        side = replace(_tree(name, path.resolve(), working_tree), build=build)
        yield side if path.resolve() == working_tree.top else working_tree.apart(side)


def refuse_unknown(name: str, working_tree: WorkingTree, build: str = "") -> None:
    """Raise ConvbenchError for a side that does not exist, or that is none to build."""
    path = _path(name)
    if build and (name == "." or name.endswith(".whl")):
        base = "the working tree" if name == "." else name
        raise ConvbenchError(f"--build {build!r}: it builds a ref or a directory, and base is {base}")
    if not (name.endswith(".whl") or name == "." or git.commit(working_tree.top, name) or path.is_dir()):
        raise ConvbenchError(git.why_not(working_tree.top, f"base {name!r}", name))


def is_working_tree(name: str, working_tree: WorkingTree) -> bool:
    """Whether a name, either ``.`` or a path, means head's tree."""
    return name == "." or (git.commit(working_tree.top, name) is None and _path(name).resolve() == working_tree.top)


def with_python(side: Side, python: str, folder: Path) -> Side:
    """Return the side for another interpreter. It needs torch and convbench's dependencies, and gets this convbench."""
    program = shutil.which(python)
    if program is None:
        raise ConvbenchError(f"--base-python {python!r}: no such program")
    package = Path(__file__).parents[2]
    (folder / "lent").mkdir()
    (folder / "lent" / package.name).symlink_to(package)
    label = f"{python} in {side.label}"  # messages add the tree's commit
    # Absolute, since a worker starts in its tree, but not resolved, since a venv's python is a link.
    program = str(Path(program).absolute())
    return replace(side, python=program, paths=(*side.paths, folder / "lent"), label=label)


def _tree(label: str, root: Path, working_tree: WorkingTree) -> Side:
    suite = working_tree.path_in(working_tree.suite, root) if working_tree.suite else None
    is_own = git.top(root) == root.resolve()  # a folder within a repository is no commit: anything may be in it
    commit, changes = (
        (git.commit(root, "HEAD"), git.uncommitted(root, working_tree.written_files)) if is_own else (None, ())
    )
    return Side(
        label, root, working_tree.cwd_in(root), working_tree.paths(root), commit=commit, changes=changes, suite=suite
    )


def _wheel(wheel: Path, working_tree: WorkingTree, folder: Path) -> Side:
    target = folder / "wheel"
    unpack(wheel, target)
    return Side(wheel.name, None, working_tree.cwd, (target, *working_tree.paths(working_tree.top)))


def _build(command: str, root: Path, working_tree: WorkingTree, folder: Path) -> None:
    """Run the build command, if any, in a tree. Processes that it leaves behind end with the scratch folder."""
    if command:
        environment = {**git.environment(), **scratch.mark(folder)}
        _run(_words(command), working_tree.cwd_in(root), environment, f"--build {command!r} failed in {root.name}")


def _words(command: str) -> list[str]:
    """Split a command. Raises ConvbenchError if it is empty or has a shell's operator, which would be an argument."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConvbenchError(f"--build {command!r}: {error}") from error
    if not words:
        raise ConvbenchError(f"--build {command!r}: there is no command in it")
    if shell_words := SHELL.intersection(words):
        raise ConvbenchError(f"--build {command!r}: {min(shell_words)} needs a shell, and {NO_SHELL}")
    return words


def _mapped_folders() -> Iterator[Path]:
    """Yield the folders of packages that setuptools' editable installs find by a mapping, not on the path."""
    for finder in sys.meta_path:
        mapping = getattr(sys.modules.get(getattr(finder, "__module__", "")), "MAPPING", None)
        for name, place in mapping.items() if isinstance(mapping, dict) else ():
            parts, path = tuple(name.split(".")), Path(place).with_suffix("")
            if path.parts[-len(parts) :] == parts:
                yield path.parents[len(parts) - 1]


def _path(name: str) -> Path:
    """Return a name as a path. Raises ConvbenchError if it cannot be one: an unknown user's home, or far too long."""
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
                scratch.kill_group(process)  # also the compilers that it started
                raise
    except FileNotFoundError as error:  # for example cd, or the assignment of a variable
        raise BuildFailed(f"{failure}: there is no program {command[0]!r}, and {NO_SHELL}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"{failure}: {error}") from error
    if process.returncode:
        text = (errors.strip() or output).decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()][-3:] or ["it printed nothing"]
        raise BuildFailed(f"{failure} (exit code {process.returncode}): {' | '.join(lines)}")
