"""Ask git about a repository. Without git, or outside of a repository, every question is answered None or False."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from convbench.core.default_folders import OF_GATE, REPORTS
from convbench.core.errors import Refused
from convbench.core.storage.shared_place import CONFIRMED
from convbench.core.storage.store import RUN
from convbench.core.system.scratch import PREFIX_OF_CHECK
from convbench.core.text import one_line

TIMEOUT = 300.0
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins whose content Git LFS has not fetched."""
MEETS_DAMAGE = re.compile(r"[Pp]ickl|[Dd]eserializ|identify image|load key|magic|[Hh]eader|[Zz]ip|[Cc]orrupt")
"""Words of errors about a file of another format than its reader expects."""
WRITTEN_BY_US = re.compile(
    rb"""<title>[^<]{0,400}convbench</title>|<testsuite [^>]{0,400}name="convbench check |\A### convbench check: """
    rb"""|\A\{\s*"suite":\s*"[^"]{0,400}",\s*"(base|places)":"""
)
"""How our pages begin, and the JUnit XML, Markdown and JSON of a check or a search."""
HEAD_BYTES = 4096
"""Bytes of a file in which its beginning is looked for: a page's title follows a policy of some 300."""
UNSET = re.compile(r"(origin/|)(?P<dots>\.{2,3}[^./].*|)")
"""How ``origin/$BASE...HEAD`` or ``origin/$BASE`` looks without BASE; ``../wheels`` is a folder."""
RANGE = re.compile(r"[^.].*[^./]\.\.[^./].*")
FILL = "git submodule update --init"
HASH = r"[0-9a-f]{4,40}"
"""How a whole or shortened hash of a commit looks."""
PATHSPECS = ("LITERAL", "GLOB", "NOGLOB", "ICASE")
OF_HOOKS = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", *(f"GIT_{how}_PATHSPECS" for how in PATHSPECS))
UNKNOWN = "what `git status` would name, but it fails here"
OF_CHECKS = (CONFIRMED, *(folder.name for folder in OF_GATE))
"""Folders beside the runs in which the gate's commands keep their measurements."""


def top(cwd: Path) -> Path | None:
    """Return the root of the working tree that a directory is in; None if it is in none."""
    root = ask(cwd, "rev-parse", "--show-toplevel")
    return Path(root).resolve() if root else None


def commit(cwd: Path, ref: str) -> str | None:
    """Return the commit that a ref names, locally or at the remote: a CI checkout has no local branch but its own."""
    if ref.startswith("-") or not top(cwd):
        return None
    if "..." in ref:
        return _merge_base(cwd, *ref.split("...", 1))
    return _digest(cwd, ref) or _digest(cwd, f"{_remote(cwd)}/{ref}")


def _digest(cwd: Path, name: str) -> str | None:
    return ask(cwd, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")


def _remote(cwd: Path, ref: str = "") -> str:
    """Return the remote whose name a ref begins with, else origin, or another one in a repository without origin."""
    remotes = (ask(cwd, "remote") or "").split()
    return min(remotes, key=lambda name: (not ref.startswith(f"{name}/"), name != "origin"), default="origin")


def _merge_base(cwd: Path, left: str, right: str) -> str | None:
    """Return the commit at which a branch left another: for ``main...HEAD`` main without its later commits.

    None if nothing stands before the dots: git takes that for HEAD, which would be compared with itself.
    """
    ours, theirs = left and commit(cwd, left), commit(cwd, right or "HEAD")
    return ask(cwd, "merge-base", ours, theirs) if ours and theirs else None


def first_parent_commits(cwd: Path, good: str, bad: str) -> list[tuple[str, str]] | None:
    """Return the commits from good to bad by first parents, each with its subject; None if good is not among them."""
    log = ask(cwd, "log", "--no-show-signature", "--first-parent", "-z", "--format=%H %s", bad) or ""
    entries = (entry.partition(" ") for entry in log.split("\0"))  # a subject may hold any other character
    history = [(digest, one_line(subject)) for digest, _, subject in entries]
    places = [place for place, (digest, _) in enumerate(history) if digest == good]
    return history[: places[0] + 1][::-1] if places else None


def commits(cwd: Path) -> tuple[str, ...]:
    """Return the commits up to HEAD by first parents, the oldest first; empty outside of a repository."""
    digests = ask(cwd, "rev-list", "--first-parent", "HEAD")
    return tuple((digests or "").split()[::-1])


def why_no_first_parents(cwd: Path, good: str, bad: str) -> str:
    """Return why first parents do not lead from good to bad, and what to do."""
    base = _merge_base(cwd, good, bad)
    if base and base == commit(cwd, bad):
        return f"--bad {bad} is older than --good {good}, which came from it: name them the other way round"
    if ask(cwd, "rev-parse", "--is-shallow-repository") == "true":
        return (
            f"the history of this clone is shallow and does not reach from {bad} back to {good}: `git fetch "
            "--unshallow` (with actions/checkout, fetch-depth: 0)"
        )
    if base is None:
        return f"{good} and {bad} have no commit in common: the history was rewritten; name a --good from that of {bad}"
    return (
        f"{bad} does not descend from {good} by first parents (a branch, or a rewritten history): name a "
        f"--good among `git log --first-parent {bad}`, such as `git merge-base {good} {bad}`"
    )


def changed_files(repository: Path, base: str) -> list[str]:
    """Return the files of the working tree that differ from a commit, new ones too, as paths from the tree's root.

    Raises Refused if git fails although it knows the commit: then nothing shows that two codes are compared.
    """
    command = ("diff", "--name-only", "--no-renames")
    modified = ask(repository, *command, "-z", base)
    if modified is None and commit(repository, base):  # it is not there if base is another clone
        words = shlex.join(["git", *command, base[:12]])
        raise Refused(f"git cannot tell what differs from {base[:12]}: `{words}` in {repository} says why")
    modified = modified or ""
    untracked = ask(repository, "ls-files", "--others", "--exclude-standard", "-z") or ""
    return [name for name in (modified + untracked).split("\0") if name]


def ignores(top: Path, file: Path) -> bool:
    """Whether git ignores a file of a tree, so that no commit has it."""
    return ask(top, "check-ignore", "--quiet", "--", str(file)) is not None


def empty_submodules(cwd: Path) -> list[str]:
    """Return the submodules below a directory that have not been fetched, as paths from there.

    None in the checkout of a check, which fills them from the working tree: what it lacks, ``why_unfilled`` says.
    """
    if (root := top(cwd)) and root.parent.name.startswith(PREFIX_OF_CHECK):
        return []
    status = ask(cwd, "submodule", "status", "--", ".") or ""
    paths = [line.split(" ", 1)[1] for line in status.splitlines() if line.startswith("-")]
    return [path for path in paths if not any((cwd / path).glob("*"))]


def why_unfilled(top: Path, path: str) -> str:
    """Return why no checkout can get a submodule's files from a working tree, and what to do, in a sentence."""
    module = top / path
    if not (module / ".git").exists():
        return f"its submodule {path} is empty: fetch it with its history ({FILL})"
    if reason := refusal(module):
        return f"its submodule {path} cannot be read: {reason}"
    unshallow = " --unshallow" if ask(module, "rev-parse", "--is-shallow-repository") == "true" else ""
    remedy = f"fetch its history (git -C {shlex.quote(path)} fetch{unshallow})"
    return f"its submodule {path} lacks the commit that this one names: {remedy}"


def lfs_hint(error: BaseException) -> str:
    """Return which file is only a pointer and what to do, if a reader stumbled over it; empty otherwise.

    ``install`` is part of the remedy, because without its filter a checkout of another commit holds pointers again.
    """
    pointer = lfs_pointer(Path()) if MEETS_DAMAGE.search(repr(error)) else ""
    return f"; {pointer} is only a pointer: `git lfs install && git lfs pull` fetches the file" if pointer else ""


def lfs_pointer(cwd: Path) -> str:
    """Return the path of a tracked file that holds only its pointer of Git LFS; empty if there is none."""
    names = (ask(cwd, "ls-files", "-z", ":(top,attr:filter=lfs)") or "").split("\0")
    for path in (cwd / name for name in names if name):
        with suppress(OSError), path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                return os.path.relpath(path, cwd)
    return ""


def uncommitted(top: Path, exceptions: Iterable[Path] = ()) -> tuple[str, ...]:
    """Return the tracked files that differ from the commit, and others that git does not ignore, but no ``exceptions``.

    Stored runs, the files written beside them, and Python's compiled modules do not count: they are not code. A tree
    about which git fails, as with a damaged index, is not taken for clean: ``UNKNOWN`` stands for its files.
    """
    paths = (path.resolve() for path in exceptions)
    pathspecs = [":(exclude,top,glob)**/__pycache__/**"]  # our own workers leave these beside what they import
    pathspecs += [f":(exclude,top,literal){path.relative_to(top)}" for path in paths if path.is_relative_to(top)]
    status = ask(top, "status", "--porcelain", "-z", "--untracked-files=all", "--", ".", *pathspecs)
    if status is None:
        return (UNKNOWN,)
    entries, names = iter(filter(None, status.split("\0"))), []
    for state, name in ((entry[:2], entry[3:]) for entry in entries):
        if state != "??" or not _is_output(top, Path(name)):
            names.append(name)
        if {"R", "C"} & set(state):
            next(entries, None)  # the next entry is its former name
    return tuple(names)


def _is_output(top: Path, file: Path) -> bool:
    """Whether a file belongs to a run, or is a page or a check's JSON beside runs; other files there may be code.

    A check's JSON at its default place is an output even without runs, and so is what begins as our files do anywhere.
    """
    if any((top / folder / RUN).exists() for folder in file.parents if folder != Path()) or _is_ours(top / file):
        return True
    is_check_output = file.parent.name in OF_CHECKS and file.suffix in (".json", ".jsonl")
    place = file.parent.parent if is_check_output else file.parent
    if is_check_output and place.name == REPORTS.name:
        return True
    return (is_check_output or file.suffix == ".html") and place != Path() and any((top / place).glob(f"*/{RUN}"))


def _is_ours(file: Path) -> bool:
    if file.suffix not in (".html", ".json", ".md", ".xml"):
        return False
    with suppress(OSError), file.open("rb") as stream:
        return WRITTEN_BY_US.search(stream.read(HEAD_BYTES)) is not None
    return False


def why_not(cwd: Path, name: str, ref: str, only_commits: bool = False) -> str:
    """Return why a ref cannot be used and what to do, in a sentence that begins with ``name``.

    With ``only_commits``, nothing but a commit can be named, and its history is needed.
    """
    reason = _mistake(ref, only_commits) or _why_no_repository(cwd, only_commits) or _why_absent(cwd, ref, only_commits)
    return f"{name} {reason}"


def _mistake(ref: str, only_commits: bool) -> str:
    """Return why a text is no ref in any repository; empty if it may be one in some."""
    if match := UNSET.fullmatch(ref):
        lack = "nothing before its dots" if match["dots"] else "no branch after its slash"
        return f"has {lack}, as if a variable were not set: name the branch, as in {match[1]}main{match['dots']}"
    if re.fullmatch("0{40}", ref):
        return "is what CI gives for a branch's first push, which has no commit before: name main...HEAD instead"
    if RANGE.fullmatch(ref) and not only_commits:
        return "is a range of commits: write three dots for the one where they part, or name one commit"
    return ""


def _why_no_repository(cwd: Path, only_commits: bool) -> str:
    """Return why no ref can be looked up in a directory; empty if any can."""
    kind, alternatives = _kind(only_commits)
    if shutil.which("git") is None:
        return f"is not a {kind}{alternatives}, and git is not installed: install it to compare with a {kind}"
    if reason := refusal(cwd):
        return f"cannot be looked up as a {kind}: {reason}"
    if top(cwd):
        return ""
    if ask(cwd, "rev-parse", "--git-dir"):
        remedy = "run this in a clone of it, or in a tree made by `git worktree add`"
        return f"cannot be checked out: the repository here has no working tree, as a bare one: {remedy}"
    remedy = "run this in one" if only_commits else "run this in one, or name a wheel or a directory"
    return f"is not a {kind}{alternatives}, and this is not a git repository: {remedy}"


def _why_absent(cwd: Path, ref: str, only_commits: bool) -> str:
    """Return why the repository of a directory has no commit of that name, and how to get it."""
    kind, alternatives = _kind(only_commits)
    left, dots, right = ref.partition("...")
    missing = next((end for end in ((left, right or "HEAD") if dots else (ref,)) if not commit(cwd, end)), "")
    remote = _remote(cwd, missing)
    branch, descendant = missing.removeprefix(f"{remote}/"), re.split("[~^]", missing)[0]
    # with its place, because a clone of one branch would keep it only as FETCH_HEAD
    fetch = f"{remote} {branch}:refs/remotes/{remote}/{branch}"
    is_name = bool(re.fullmatch(r"[\w./-]+", branch)) and ".." not in branch and not re.fullmatch(HASH, branch)
    if ask(cwd, "rev-parse", "--is-shallow-repository") == "true":
        # A server only hands out branches, tags and whole hashes, and a single commit has no history.
        if dots and is_name:
            remedy = f"`git fetch --unshallow {fetch}`"
        elif only_commits or dots or not (is_name or re.fullmatch(r"[0-9a-f]{40}", branch)):
            remedy = "`git fetch --unshallow`, or --deepen by as many commits as it takes"
        else:
            remedy = f"fetch it first, as in `git fetch --depth 1 {remote} {branch}` and --base FETCH_HEAD"
        return f"is not a {kind} of this clone, which is shallow: {remedy} (with actions/checkout, fetch-depth: 0)"
    if dots and not missing:
        return f"is not a {kind}: the two have no commit in common, as after a rewrite of history"
    if descendant != missing and commit(cwd, descendant):
        return f"is not a {kind}: {descendant} has no such ancestor; name another"
    one_branch = f" (in a clone of one branch: `git fetch {fetch}`)" if is_name else ""
    return f"is not a {kind} of this repository{alternatives}: `git fetch` it{one_branch}, or name another"


def _kind(only_commits: bool) -> tuple[str, str]:
    """Return the word for what a name must be, and the words for what else it may be."""
    return ("commit", "") if only_commits else ("ref", ", wheel or directory")


def refusal(cwd: Path) -> str:
    """Return why git refuses the repository that a directory is in; empty if it does not, and outside of a repository.

    An example is a container in which another user owns the mounted files; git's own sentence says what to do.
    """
    directory = cwd.resolve()
    if top(cwd) or not any((folder / ".git").exists() for folder in (directory, *directory.parents)):
        return ""
    if shutil.which("git") is None:
        return "git is not installed"
    complaint = _complaint(cwd)
    return "" if "not a git repository" in complaint else f"git says: {complaint}"


def _complaint(cwd: Path) -> str:
    """Return git's error message about a directory; empty if there is none."""
    try:
        run(cwd, "rev-parse", "--show-toplevel")
    except subprocess.CalledProcessError as error:
        return " ".join(error_output(error).split()).removeprefix("fatal: ")
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return ""


def ask(cwd: Path, *arguments: str) -> str | None:
    """Return git's output; None if git fails or is not installed."""
    try:
        return run(cwd, *arguments)
    except (OSError, subprocess.SubprocessError):
        return None


def run(cwd: Path, *arguments: str, **variables: str) -> str:
    """Return git's output unchanged: names and subjects may have any encoding, and contain carriage returns.

    ``variables`` are added to its environment. Raises OSError or SubprocessError.
    """
    process = subprocess.run(
        ["git", *arguments], cwd=cwd, env=environment() | variables, capture_output=True, timeout=TIMEOUT, check=True
    )
    return os.fsdecode(process.stdout).removesuffix("\n")


def error_output(error: subprocess.SubprocessError) -> str:
    """Return what git wrote to standard error before it failed."""
    return (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()


def environment() -> dict[str, str]:
    """Return this process's environment without the variables of a git hook, which would name another repository."""
    return {name: value for name, value in os.environ.items() if name not in OF_HOOKS}
