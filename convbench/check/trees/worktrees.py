"""Check out the trees of commits for as long as a check needs them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convbench.core import git
from convbench.core.errors import BuildFailed
from convbench.core.system import scratch
from convbench.core.system.lock import is_free
from convbench.core.system.scratch import LOCK, PREFIX_OF_CHECK


@contextmanager
def checkout(repository: Path, commit: str, folder: Path) -> Iterator[None]:
    """Check out the tree of a commit at ``folder/base`` until the end, after removing those left by killed checks."""
    remove_leftovers(repository)
    tree = folder / "base"
    try:
        _check_out(repository, commit, tree)
        yield
    finally:
        _remove(repository, tree)


def fill_submodules(repository: Path, commit: str, tree: Path) -> tuple[str, ...]:
    """Put a commit's submodules, nested ones too, into its tree. Returns the paths of those that are not available."""
    listing = git.ask(repository, "ls-tree", "-r", "-z", "--full-tree", commit) or ""
    missing_paths: list[str] = []
    for entry in (entry for entry in listing.split("\0") if entry.startswith("160000 ")):
        header, _, path = entry.partition("\t")
        module, sha = repository / path, header.split()[-1]
        inner = fill_submodules(module, sha, tree / path) if _fill(module, sha, tree / path) else [""]
        missing_paths += [f"{path}/{name}".rstrip("/") for name in inner]
    return tuple(missing_paths)


def _fill(module: Path, commit: str, place: Path) -> bool:
    """Put the tree of a repository's commit at a place. Returns False if the commit is not available.

    The tree is checked out as a worktree is. ``git archive`` would omit files that releases omit, and rewrite versions.
    """
    if not (module / ".git").exists():
        return False
    with scratch.folder() as folder:
        own_index = {"GIT_INDEX_FILE": f"{folder}/index"}
        try:
            git.run(module, "read-tree", commit, **own_index)
            git.run(module, "checkout-index", "--all", "--force", f"--prefix={place}/", **own_index)
        except (OSError, subprocess.SubprocessError):
            return False
    return True


def _check_out(repository: Path, commit: str, tree: Path) -> None:
    """Make a worktree, or a plain tree if the repository is read-only, as one that CI mounts.

    Raises BuildFailed, but not if only a hook failed after the checkout, as git-lfs's can.
    """
    try:
        git.run(repository, "worktree", "add", "--quiet", "--detach", "--force", str(tree), commit)
    except subprocess.SubprocessError as error:
        if not (_is_whole(tree, commit) or _fill(repository, commit, tree)):
            *causes, last = git.error_output(error).splitlines()[-3:] or [str(error)]
            reason = f"{last} ({'; '.join(causes)})" if causes else last
            raise BuildFailed(f"git cannot check out {commit[:12]}: {reason}") from error


def _is_whole(tree: Path, commit: str) -> bool:
    at_commit = (tree / ".git").exists() and git.ask(tree, "rev-parse", "HEAD") == commit
    return at_commit and git.ask(tree, "status", "--porcelain", "--untracked-files=no") == ""


def remove_leftovers(repository: Path) -> None:
    """Remove the worktrees of killed checks: those in a folder that no process holds."""
    listing = git.ask(repository, "worktree", "list", "--porcelain") or ""
    for line in listing.splitlines():
        path = Path(line.removeprefix("worktree "))
        is_ours = line.startswith("worktree ") and path.parent.name.startswith(PREFIX_OF_CHECK)
        if is_ours and is_free(path.parent / LOCK):
            _remove(repository, path)
            shutil.rmtree(path.parent, ignore_errors=True)


def _remove(repository: Path, tree: Path) -> None:
    """Remove one of our worktrees, even if its folder is gone.

    Never use ``git worktree prune``: it also forgets a user's worktrees whose folders are not mounted at the moment.
    """
    git.ask(repository, "worktree", "remove", "--force", "--force", str(tree))
    shutil.rmtree(tree, ignore_errors=True)
