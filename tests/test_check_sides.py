"""The sides of a check, made from real repositories, worktrees, wheels and locks; none of them needs torch."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from command import commit
from command import git as run

from convbench.check.bisection import bisected
from convbench.check.trees import origin, requirements, sides
from convbench.check.trees.wheel import unpack
from convbench.core import git, imports
from convbench.core.errors import BuildFailed, ConvbenchError, Refused, StoreError
from convbench.core.system import lock, scratch
from convbench.core.text import some
from convbench.measure import attempts
from convbench.measure.machine import environment

EXAMPLE = Path(__file__).parents[1] / "reports" / "example"


@pytest.fixture
def repository(tmp_path):
    """A repository in which ``nets`` says one in ``main~1`` and two in ``main``, and a folder holds a suite."""
    project = tmp_path / "project"
    (project / "speed").mkdir(parents=True)
    run(project, "init", "-q")
    (project / "speed" / "suite.yaml").write_text("name: x\n")
    for number in ("one", "two"):
        (project / "nets.py").write_text(f"NUMBER = {number!r}\n")
        commit(project, number)
    return project


@pytest.fixture
def folder():
    with sides.scratch_folder() as scratch:
        yield scratch


def number(side: sides.Side) -> str:
    """Return the number in ``nets``, read in a process that finds modules as a worker of this side does."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, side.paths))}
    words = [side.python, "-P", "-c", "import nets; print(nets.NUMBER)"]
    return subprocess.run(
        words, cwd=side.cwd, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_worktree_of_a_ref_is_removed_afterwards(repository, folder):
    here = sides.WorkingTree.at(repository, str(repository / "speed" / "suite.yaml"))
    with sides.materialise("main~1", here, folder) as base, sides.materialise(".", here, folder) as head:
        assert (number(base), number(head)) == ("one", "two")
        assert base.label == f"main~1 ({base.commit[:12]})"
        assert base.suite == base.root / "speed" / "suite.yaml"
        assert base.root / "speed" in base.paths
        assert not base.dirty
        assert (base.is_elsewhere, base.checkout_of) == (True, repository)
        assert (head.is_elsewhere, head.checkout_of, head.label) == (False, None, "working tree")
    assert run(repository, "worktree", "list").count("\n") == 0
    assert not base.root.exists()


def test_files_left_by_a_build_make_no_ref_dirty(repository, folder):
    here = sides.WorkingTree.at(repository, "smoke")
    with sides.materialise("HEAD", here, folder, "touch built.txt") as base:
        assert (base.root / "built.txt").exists()
        assert not base.dirty
        assert (base.build, base.label) == ("touch built.txt", f"HEAD ({git.commit(repository, 'HEAD')[:12]})")


def test_a_build_runs_in_the_folder_of_the_command(repository, folder, tmp_path):
    """In a monorepo that is the package and not the top. A base that lacks the folder is built at its top."""
    other = shutil.copytree(repository, tmp_path / "other")
    (repository / "new").mkdir()
    for cwd, place in ((repository / "speed", "speed/built.txt"), (repository / "new", "built.txt")):
        here = sides.WorkingTree.at(cwd, "smoke")
        for what in ("HEAD", str(other)):
            with sides.materialise(what, here, folder, "touch built.txt") as base:
                assert (base.root / place).exists()


@pytest.mark.parametrize("itself", [".", "./", "../project"])
def test_the_working_tree_is_known_by_any_of_its_names(repository, monkeypatch, itself):
    monkeypatch.chdir(repository)
    here = sides.WorkingTree.at(repository, "smoke")
    assert sides.is_working_tree(itself, here)
    assert not any(sides.is_working_tree(other, here) for other in ("HEAD", "speed", "x.whl"))


def test_stored_runs_and_compiled_modules_make_no_run_dirty(repository, monkeypatch):
    """A second nightly run in a repository could never be confirmed, because of the first run's stored files."""
    monkeypatch.chdir(repository / "speed")
    (repository / "speed" / "reports" / "check").mkdir(parents=True)
    (repository / "speed" / "reports" / "check" / "smoke.json").write_text("{}")
    assert environment.describe("cpu")["dirty"] is False
    for file in (
        "night/run.json",
        "runs/a/run.json",
        "runs/a/previous/1/run.json",
        "runs/a/results.csv",
        "runs/history.html",
        "runs/confirmed/0123-4567.json",
        "runs/check/smoke.json",
        "runs/selftest/trials.jsonl",
        "__pycache__/nets.cpython-312.pyc",
    ):
        (repository / file).parent.mkdir(parents=True, exist_ok=True)
        (repository / file).write_text("{}")
    shutil.copy(EXAMPLE / "index.html", repository / "page.html")
    bisected.write(repository / "speed" / "bisect.json", bisected.State("smoke", ["1a", "2b"]))
    assert environment.describe("cpu")["dirty"] is False
    for code in (
        "new.py",
        "runs/net.py",
        "runs/check/net.py",
        "runs/settings.json",
        "speed/check/settings.json",
        "speed/reports/settings.json",
        "start.html",
        "page.xml",
        "nets.md",
    ):
        (repository / code).parent.mkdir(exist_ok=True)
        (repository / code).write_text("")
        assert environment.describe("cpu")["dirty"] is True
        (repository / code).unlink()


def test_the_working_tree_is_compared_as_it_stands(repository, folder):
    (repository / "nets.py").write_text("NUMBER = 'three'\n")
    here = sides.WorkingTree.at(repository, "smoke")
    with sides.materialise(".", here, folder) as head, sides.materialise("HEAD", here, folder) as base:
        assert (number(head), head.dirty) == ("three", True)
        assert (number(base), base.dirty) == ("two", False)


def test_a_subfolder_is_the_working_directory_on_both_sides(repository, folder):
    here = sides.WorkingTree.at(repository / "speed", "suite.yaml")
    with sides.materialise("main~1", here, folder) as base:
        assert base.cwd == base.root / "speed"
        assert number(base) == "one"


def test_pythonpath_entries_inside_the_tree_move_with_it(repository, folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{repository / 'lib'}{os.pathsep}/elsewhere")
    with sides.materialise("main~1", sides.WorkingTree.at(repository, "smoke"), folder) as base:
        assert base.root / "lib" in base.paths
        assert Path("/elsewhere") in base.paths


def test_modules_are_found_on_both_sides_in_the_same_order(tmp_path, monkeypatch):
    """As in a run: the working directory, then the suite's folder; a layout with src/; PYTHONPATH."""
    top, base, elsewhere = (tmp_path / name for name in ("top", "base", "elsewhere"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (top / "lib", elsewhere))))
    called = sides.WorkingTree(top, top / "work", top / "speed" / "suite.yaml")
    folders = ("work", "speed", ".", "work/src", "src", "lib")
    for root in (top, base):
        assert called.paths(root) == (*(root / name for name in folders), elsewhere)
    assert base / "speed" not in replace(called, suite=None).paths(base)


def test_only_a_suites_file_has_a_place_in_the_tree(repository, monkeypatch):
    monkeypatch.chdir(repository)
    assert sides.WorkingTree.at(repository, "smoke").suite is None
    assert sides.WorkingTree.at(repository, "speed/suite.yaml").suite == repository / "speed" / "suite.yaml"


def test_a_branch_that_exists_only_on_origin_is_found(repository, folder, tmp_path):
    run(repository, "branch", "release", "main~1")
    run(tmp_path, "clone", "-q", str(repository), "clone")
    with sides.materialise("release", sides.WorkingTree.at(tmp_path / "clone", "smoke"), folder) as base:
        assert number(base) == "one"


def test_three_dots_mean_the_commit_where_the_branch_left_main(repository, folder):
    run(repository, "checkout", "-qb", "feature", "main~1")
    (repository / "nets.py").write_text("NUMBER = 'mine'\n")
    run(repository, "commit", "-qam", "mine")
    here = sides.WorkingTree.at(repository, "smoke")
    with sides.materialise("main...HEAD", here, folder) as base:
        assert number(base) == "one"
        assert base.commit == run(repository, "rev-parse", "main~1")


def test_submodules_of_a_base_are_checked_out_or_named(repository, folder, tmp_path, monkeypatch):
    """This includes nested submodules, odd names, and files that `git archive` would leave out."""
    modules = {}
    for name in ("deep", "part"):
        module = modules[name] = tmp_path / name
        module.mkdir()
        run(module, "init", "-q")
        (module / "inner.py").write_text(f"NUMBER = {name!r}  # $Format:%H$\n")
        (module / ".gitattributes").write_text("inner.py export-ignore export-subst\n")
        commit(module, name)
    add = ("-c", "protocol.file.allow=always", "submodule", "--quiet")
    run(modules["part"], *add, "add", str(modules["deep"]), "below/deep")
    run(modules["part"], "commit", "-qm", "with one more")
    run(repository, *add, "add", str(modules["part"]), "libs/pärt 1")
    run(repository, "commit", "-qam", "with a part")
    here, place = sides.WorkingTree.at(repository, "smoke"), Path("libs/pärt 1")
    with sides.materialise("main", here, folder) as base:
        assert (base.root / place / "inner.py").read_text() == "NUMBER = 'part'  # $Format:%H$\n"
        hint = base.hint("cannot be imported")
        assert "its submodule libs/pärt 1/below/deep is empty: fetch it with its history (git submodule" in hint
    run(repository, *add, "update", "--init", "--recursive")
    with sides.materialise("main", here, folder) as base:
        assert (base.root / place / "below" / "deep" / "inner.py").read_text().startswith("NUMBER = 'deep'")
        assert base.hint("cannot be imported") == ""
    assert run(repository / place, "status", "--porcelain") == ""
    run(repository, "submodule", "--quiet", "deinit", "--force", str(place))
    with sides.materialise("main", here, folder) as base:
        assert "its submodule libs/pärt 1 is empty: fetch it" in base.hint("cannot be imported")
        monkeypatch.chdir(repository)  # where nothing said why: CI's checkout leaves submodules out
        remedy = imports.hint("net:build", ModuleNotFoundError("no", name="libs.pärt 1"))
        assert remedy == "; the submodule libs/pärt 1 is empty: fetch it (git submodule update --init)"
        monkeypatch.chdir(base.cwd)  # the side's hint says it: a base's own process must not say it, too
        assert imports.hint("net:build", ModuleNotFoundError("no", name="libs.pärt 1")) == ""
        monkeypatch.chdir(repository)
    assert imports.hint("net:build", ModuleNotFoundError("no", name="libs.other")) == ""


def test_a_submodule_that_is_there_but_cannot_fill_a_base_says_why(repository, folder, tmp_path, monkeypatch):
    """Its remedy was to fetch it, or it seemed to be newer: CI trusts only the repository, or fetches one commit."""
    run(tmp_path, "init", "-q", "part")
    (tmp_path / "part" / "inner.py").touch()
    commit(tmp_path / "part", "one")
    run(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "part"), "part")
    run(repository, "update-index", "--cacheinfo", f"160000,{'1' * 40},part")
    run(repository, "commit", "-qm", "with a part that nobody has")
    (repository / "later.py").touch()
    here, reason = sides.WorkingTree.at(repository, "smoke"), "No module named 'part.inner'"
    with sides.materialise("main", here, folder) as base:
        lacks = "; its submodule part lacks the commit that this one names: fetch its history (git -C part fetch)"
        assert base.hint(reason) == lacks
        assert base.hint("No module named 'later'").startswith("; only the working tree has later.py")
        (repository / ".git" / "modules" / "part" / "shallow").write_text(run(repository / "part", "rev-parse", "HEAD"))
        assert base.hint(reason) == lacks.replace("fetch)", "fetch --unshallow)")
        complaint = "git says: detected dubious ownership"
        monkeypatch.setattr(git, "refusal", lambda place: complaint if place == repository / "part" else "")
        assert base.hint(reason) == f"; its submodule part cannot be read: {complaint}"


def test_an_ignored_file_that_a_checkout_lacks_is_named(repository, folder):
    """The message used to be "No module named 'nets._version'", although the working tree had that file."""
    (repository / "src" / "shop").mkdir(parents=True)
    for name in ("src/shop/_version.py", "src/shop/_native.abi3.so", "speed/w.pt", "new.txt"):
        (repository / name).touch()
    (repository / ".git" / "info" / "exclude").write_text("_version.py\n*.pt\n*.so\n")
    here = sides.WorkingTree.at(repository / "speed", "suite.yaml")
    with sides.materialise("main", here, folder) as base:
        said = {
            "cannot import 'shop.net:build': No module named 'shop._version'": "git ignores src/shop/_version.py",
            "cannot import name '_native' from 'shop' (src/shop/__init__.py)": "git ignores src/shop/_native.abi3.so",
            "x/_native.so: failed to map segment from shared object": "set TMPDIR to a folder elsewhere",
            "cannot import name 'Net' from 'shop' (src/shop/__init__.py)": "",
            f"No such file or directory: '{base.root}/speed/w.pt'": "git ignores speed/w.pt",
            "No such file or directory: 'w.pt'": "git ignores speed/w.pt",
            'No such file or directory: "w.pt"': "git ignores speed/w.pt",
            "The provided filename w.pt does not exist": "git ignores speed/w.pt",
            "No such file or directory: '../new.txt'": "only the working tree has new.txt: it is newer, or was renamed",
            "No module named 'elsewhere'": "",
            "ValueError: 'w.pt'": "",
        }
        for reason, words in said.items():
            hint = base.hint(reason)
            assert words in hint, reason
            assert bool(hint) == bool(words), reason
        (base.root / "speed" / "w.pt").touch()  # --build has made it: its absence is not the cause
        assert base.hint("No such file or directory: 'w.pt'") == ""
    with sides.materialise(".", here, folder) as head:
        assert head.hint("No module named 'shop._version'") == ""


def test_an_installed_copy_of_changed_code_is_refused(repository, folder, tmp_path):
    """Both sides would import the copy if ``pip install ./packages/x`` has copied a package of a monorepo."""
    net = repository / "packages" / "x" / "src" / "x" / "net.py"
    net.parent.mkdir(parents=True)
    for text in ("WORK = 1\n", "WORK = 2\n"):
        net.write_text(text)
        commit(repository, text)
    copy = {"x.net": str(tmp_path / "site-packages" / "x" / "net.py")}
    here, named = (
        sides.WorkingTree.at(repository, "smoke"),
        [{"architecture": {"model": {"name": "shop.models:build"}}}],
    )
    with sides.materialise("main~1", here, folder) as base, sides.materialise(".", here, folder) as head:
        with pytest.raises(Refused, match=r"packages/x/src/x/net.py differs between base and head, but both") as error:
            origin.refuse_same_code(base, head, named, {"base": copy, "head": copy})
        assert error.value.exit_code == 4
        assert "pip install -e" in str(error.value)
        own = {"base": {"x.net": str(base.root / net.relative_to(repository))}, "head": {"x.net": str(net)}}
        origin.refuse_same_code(base, head, named, own)
        with pytest.raises(Refused, match=r"base and head both import shop.models from"):
            both = {"shop.models": str(tmp_path / "shop" / "models.py")}
            origin.refuse_same_code(base, head, named, {"base": both, "head": both})


def test_the_folder_that_pip_copied_a_package_from_is_known(tmp_path, monkeypatch):
    for name, facts in (("copied", {}), ("linked", {"editable": True})):
        info = tmp_path / "site-packages" / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "direct_url.json").write_text(json.dumps({"url": f"file://{tmp_path}/my%20{name}", "dir_info": facts}))
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    monkeypatch.setattr(origin, "_distributions", lambda: {"ops": ["copied"], "net": ["linked"]})
    assert [origin._installed_from.__wrapped__(package) for package in ("ops", "net", "other")] == [
        tmp_path / "my copied", None, None,
    ]  # fmt: skip


@pytest.fixture
def both_sides(repository, folder):
    """Yield ``main~1``, the working tree, and the path of each side's ``nets``."""
    here = sides.WorkingTree.at(repository, "smoke")
    with sides.materialise("main~1", here, folder) as base, sides.materialise(".", here, folder) as head:
        yield base, head, {"base": {"nets": str(base.root / "nets.py")}, "head": {"nets": str(head.root / "nets.py")}}


def naming(module: str) -> list[dict]:
    return [{"architecture": {"backbone": {"name": f"{module}:build"}}}]


def with_both(own: dict, **shared: Path) -> dict:
    """Return the imported files of both sides, with shared modules that both import from one file."""
    return {side: files | {name: str(path) for name, path in shared.items()} for side, files in own.items()}


def test_both_sides_may_import_an_installed_third_party_package(both_sides, repository, tmp_path):
    base, head, own = both_sides
    vision = tmp_path / "site-packages" / "vision" / "__init__.py"
    files = with_both(own, vision=vision)
    origin.refuse_same_code(base, head, naming("vision"), files)
    environment = repository / ".venv" / "lib" / "site-packages" / "vision" / "__init__.py"
    ours = repository / "src" / "vision" / "__init__.py"
    for place in (environment, ours):
        place.parent.mkdir(parents=True)
        place.touch()
        if place == environment:
            origin.refuse_same_code(base, head, naming("vision"), files)
    with pytest.raises(Refused, match="base and head both import vision from"):
        origin.refuse_same_code(base, head, naming("vision"), files)


def test_one_tree_is_compared_with_itself_if_the_interpreter_or_a_package_differs(both_sides):
    """So does ``check --base-python`` or ``bisect --package``: it is all that differs."""
    base, head, _ = both_sides
    files = {side: {"nets": str(head.root / "nets.py")} for side in ("base", "head")}
    origin.refuse_same_code(head, head, naming("nets"), files)
    origin.refuse_same_code(replace(base, python="python3.99"), head, naming("nets"), files)
    with pytest.raises(Refused, match="base and head both import nets from"):
        origin.refuse_same_code(base, head, naming("nets"), files)


def test_one_copy_of_a_module_from_a_folder_is_refused(both_sides, tmp_path, monkeypatch):
    base, head, own = both_sides
    monkeypatch.setattr(origin, "_installed_from", {"ops": tmp_path}.get)
    with pytest.raises(Refused, match="base and head both import ops from"):
        origin.refuse_same_code(base, head, naming("ops"), with_both(own, ops=tmp_path / "site-packages" / "ops.so"))


def test_a_ref_that_no_case_imports_from_is_refused(both_sides, tmp_path):
    base, head, own = both_sides
    shared = {"convbench": str(tmp_path / "site-packages" / "convbench" / "__init__.py")}
    with pytest.raises(
        Refused, match=r"no case imports anything from main~1 .*, so head would be compared with itself"
    ):
        origin.refuse_same_code(base, head, naming("gap"), {"base": shared, "head": shared})
    origin.refuse_same_code(base, head, naming("gap"), own)
    below = replace(base, paths=(base.root / "speed", *base.paths))  # called in a folder of the tree
    origin.refuse_same_code(below, head, naming("gap"), own)


@pytest.mark.parametrize("changed", ["ops/csrc/fast.cu", "ops/csrc/fast.h", "ops/lib.rs"])
def test_one_installed_copy_of_changed_native_code_is_refused(both_sides, repository, tmp_path, monkeypatch, changed):
    base, head, own = both_sides
    (repository / changed).parent.mkdir(parents=True)
    (repository / changed).touch()
    monkeypatch.setattr(origin, "_installed_from", {"ops": repository / "ops", "other": tmp_path / "other"}.get)
    installed = tmp_path / "site-packages"
    others = {name: installed / f"{name}.so" for name in ("other", "third")}
    origin.refuse_same_code(base, head, [{}], with_both(own, **others))
    with pytest.raises(Refused, match=rf"{changed} differs between base and head, but both import ops from"):
        origin.refuse_same_code(base, head, [{}], with_both(own, ops=installed / "ops.so"))


def test_an_extension_of_head_that_is_older_than_its_changed_source_is_noted(repository, folder, tmp_path):
    """It held base's code, so a slower source that nobody had built passed with the verdict ok."""
    built, source = repository / "speed" / "fast.abi3.so", repository / "speed" / "fast.c"
    for file in (built, source):
        file.touch()
    (repository / ".git" / "info" / "exclude").write_text("*.so\n")
    commit(repository, "fast")
    source.write_text("slower")
    here, files = sides.WorkingTree.at(repository, "smoke"), {"head": {"fast": str(built), "nets": "nets.py"}}
    files["head"]["other"] = str(tmp_path / "older.so")
    with sides.materialise("main", here, folder) as base, sides.materialise(".", here, folder) as head:
        os.utime(built, (1, 1))
        (note,) = origin.notes(base, head, files)
        assert note.startswith(
            "speed/fast.c changed after fast was built, so head may have run the old code: build head"
        )
        os.utime(source, (1, 1))
        assert origin.notes(base, head, files) == [], "built since"
        assert origin.notes(base, head, {"head": {"nets": "nets.py"}}) == []
        assert origin.notes(head, head, files) == []


def test_a_directory_is_used_as_it_is(repository, folder, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "nets.py").write_text("NUMBER = 'other'\n")
    here = sides.WorkingTree.at(repository, "smoke")
    with sides.materialise(str(tmp_path / "other"), here, folder, "touch built.txt") as base:
        assert (number(base), base.is_elsewhere, base.build) == ("other", True, "touch built.txt")
    with sides.materialise(str(repository), here, folder) as base:  # as head, for --base-python
        assert (number(base), base.is_elsewhere, base.commit) == ("two", False, git.commit(repository, "HEAD"))


@pytest.mark.parametrize("ignored", [True, False])
def test_a_directory_inside_the_repository_has_no_commit(repository, folder, monkeypatch, ignored):
    """It used to be recorded as HEAD, so that `--resume` went on after its content had changed."""
    monkeypatch.chdir(repository)
    (repository / ".gitignore").write_text("release/\n" if ignored else "")
    (repository / "release").mkdir()
    (repository / "release" / "nets.py").write_text("NUMBER = 'released'\n")
    with sides.materialise("release", sides.WorkingTree.at(repository, "smoke"), folder) as base:
        assert (number(base), base.commit, base.dirty) == ("released", None, False)


def wheel(folder: Path) -> Path:
    path = folder / "nets-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("nets.py", "NUMBER = 'wheel'\n")
        archive.writestr("nets-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: nets\nVersion: 1.0\n")
        archive.writestr("nets-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("nets-1.0.dist-info/RECORD", "nets.py,,\n")
    return path


def test_a_wheel_comes_before_the_tree_on_the_path(repository, folder, tmp_path):
    with sides.materialise(str(wheel(tmp_path)), sides.WorkingTree.at(repository, "smoke"), folder) as base:
        assert (number(base), base.is_elsewhere, base.root, base.commit) == ("wheel", True, None, None)


def test_files_that_a_wheel_keeps_for_the_site_folder_come_to_its_top(tmp_path):
    path, site = tmp_path / "nets-1.0-cp311-cp311-linux_x86_64.whl", tmp_path / "site"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("nets/__init__.py", "nets-1.0.data/purelib/nets/deep/layers.py", "nets-1.0.data/platlib/fast.so"):
            archive.writestr(name, name)
    unpack(path, site)
    assert (site / "nets" / "__init__.py").read_text() == "nets/__init__.py"
    assert (site / "nets" / "deep" / "layers.py").read_text() == "nets-1.0.data/purelib/nets/deep/layers.py"
    assert (site / "fast.so").read_text() == "nets-1.0.data/platlib/fast.so"


def test_a_wheel_that_no_case_imports_from_is_refused(repository, folder, tmp_path):
    here, cases = sides.WorkingTree.at(repository, "smoke"), [{"architecture": {"reducer": {"name": "gap"}}}]
    with (
        sides.materialise(str(wheel(tmp_path)), here, folder) as base,
        sides.materialise(".", here, folder) as head,
    ):
        both = {"shop.models": str(tmp_path / "shop" / "models.py")}
        with pytest.raises(
            Refused, match=r"no case imports anything from .*\.whl, so head would be compared with itself"
        ):
            origin.refuse_same_code(base, head, cases, {"base": both, "head": both})
        used = {"base": both | {"nets": str(base.paths[0] / "nets.py")}, "head": both}
        origin.refuse_same_code(base, head, cases, used)
        origin.refuse_same_code(base, head, naming("shop.models"), used)  # beside the suite, so meant for both
        origin.refuse_same_code(base, head, [], {})


def test_a_broken_wheel_is_a_failed_build(repository, folder, tmp_path):
    (tmp_path / "bad-1.0-py3-none-any.whl").write_text("no zip")
    here = sides.WorkingTree.at(repository, "smoke")
    with (
        pytest.raises(BuildFailed, match="cannot be installed"),
        sides.materialise(str(tmp_path / "bad-1.0-py3-none-any.whl"), here, folder),
    ):
        pass


@pytest.mark.parametrize(
    ("place", "damage", "reason"),
    [
        (6, b"\x01\x00", "password required"),
        (8, b"\x63\x00", "compression method"),
        (30 + len("nets.py"), b"\xff" * 8, "Error -3"),
        (14, b"\x00" * 4, "Bad CRC-32"),
    ],
    ids=["encrypted", "unknown compression", "damaged", "other content"],
)
def test_a_wheel_that_cannot_be_unpacked_is_a_failed_build(tmp_path, place, damage, reason):
    path = tmp_path / "nets-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("nets.py", "NUMBER = 'wheel'\n" * 20)
    content = bytearray(path.read_bytes())
    index = content.index(b"PK\x01\x02")
    for start in (place, index + place + 2) if place < 30 else (place,):  # the index repeats a file's heading
        content[start : start + len(damage)] = damage
    path.write_bytes(content)
    with pytest.raises(BuildFailed, match=rf"nets-1.0-py3-none-any.whl cannot be installed: .*{reason}"):
        unpack(path, tmp_path / "site")


def test_a_base_that_does_not_build_leaves_no_worktree(repository, folder):
    here = sides.WorkingTree.at(repository, "smoke")
    command = f"{sys.executable} -c 'import sys; sys.exit(\"no compiler\")'"
    with (
        pytest.raises(BuildFailed, match=r"failed in base \(exit code 1\): no compiler"),
        sides.materialise("main~1", here, folder, command),
    ):
        pass
    assert run(repository, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize(
    ("command", "message", "code"),
    [
        ("make lib && make kernels", "&& needs a shell, and no shell runs it: write --build \"sh -c '...'\"", 2),
        ("python version.py > version.txt", "> needs a shell", 2),
        ("CC=clang make", "there is no program 'CC=clang', and no shell runs it", 5),
        (" ", "there is no command in it", 2),
        ("false", "(exit code 1): it printed nothing", 5),
        ("sh -c 'echo; echo no compiler; echo >&2; exit 1'", "(exit code 1): no compiler", 5),
    ],
)
def test_a_build_that_needs_a_shell_is_refused(repository, folder, command, message, code):
    """Shell syntax used to be an argument of the first program, which could succeed."""
    here = sides.WorkingTree.at(repository, "smoke")
    with (
        pytest.raises(ConvbenchError, match=re.escape(message)) as error,
        sides.materialise("main~1", here, folder, command),
    ):
        pass
    assert error.value.exit_code == code


def test_a_build_that_times_out_ends_with_its_children(repository, folder, monkeypatch):
    monkeypatch.setattr(sides, "BUILD_TIMEOUT", 0.5)
    here = sides.WorkingTree.at(repository, "smoke")
    with (
        pytest.raises(BuildFailed, match="timed out"),
        sides.materialise("main~1", here, folder, "sh -c 'sleep 60 & wait'"),
    ):
        pass
    assert any(not list(scratch.processes(folder)) for _ in range(1000))


def test_processes_that_a_build_left_end_with_the_check(repository):
    with (
        sides.scratch_folder() as folder,
        sides.materialise(
            "main~1", sides.WorkingTree.at(repository, "smoke"), folder, "sh -c 'setsid sleep 60 > /dev/null 2>&1 &'"
        ),
    ):
        assert list(scratch.processes(folder))
    assert not list(scratch.processes(folder))


@pytest.mark.parametrize("where", [".", "part"])
def test_an_editable_install_of_a_subfolder_differs_by_side(repository, folder, monkeypatch, where):
    """The package is found in ``src`` from the subfolder, and elsewhere on the path that the install extended."""
    (repository / "part" / "src").mkdir(parents=True)
    (repository / "nets.py").rename(repository / "part" / "src" / "nets.py")
    for text in ("NUMBER = 'three'\n", "NUMBER = 'four'\n"):
        (repository / "part" / "src" / "nets.py").write_text(text)
        commit(repository, text)
    if where == ".":
        monkeypatch.setattr(sys, "path", [*sys.path, str(repository / "part" / "src")])
    here = sides.WorkingTree.at(repository / where, "smoke")
    with sides.materialise("main~1", here, folder) as base, sides.materialise(".", here, folder) as head:
        assert (number(base), number(head)) == ("three", "four")


@pytest.mark.parametrize(
    ("name", "place"), [("nets", "part/nets"), ("shop.nets", "part/shop/nets")], ids=["a module", "in a namespace"]
)
def test_a_package_that_setuptools_maps_differs_by_side(repository, monkeypatch, name, place):
    """An editable install of a flat layout finds its packages by a mapping: base used to import those of head."""
    finder = types.SimpleNamespace(__module__="__editable___nets_finder")
    monkeypatch.setitem(sys.modules, finder.__module__, types.SimpleNamespace(MAPPING={name: str(repository / place)}))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    here, other_tree = sides.WorkingTree.at(repository, "smoke"), Path("/other/tree")
    assert other_tree / "part" in here.paths(other_tree)


def test_a_commit_of_a_read_only_repository_is_checked_out(repository, folder):
    """CI may mount the repository read-only, so that git cannot keep a worktree in it."""
    (repository / ".git" / "worktrees").touch()
    here = sides.WorkingTree.at(repository, "smoke")
    with sides.materialise("main~1", here, folder) as base:
        assert number(base) == "one"
        assert base.commit == git.commit(repository, "main~1")
        assert not base.dirty
    assert not (folder / "base").exists()


def test_an_environment_inside_the_tree_is_not_on_the_path(repository, monkeypatch):
    environment = repository / ".venv" / "lib" / "site-packages"
    monkeypatch.setattr(sys, "path", [*sys.path, "", str(environment)])
    assert environment not in sides.WorkingTree.at(repository, "smoke").paths(repository)


def test_a_build_may_print_bytes_that_are_not_utf8(repository, folder):
    here = sides.WorkingTree.at(repository, "smoke")
    with sides.materialise("main~1", here, folder, r"printf '\351t\351'"):
        pass
    with (
        pytest.raises(BuildFailed, match="\N{REPLACEMENT CHARACTER}t\N{REPLACEMENT CHARACTER}"),
        sides.materialise("main~1", here, folder, r"sh -c 'printf \\351t\\351; exit 1'"),
    ):
        pass


@pytest.mark.parametrize("how", ["LITERAL", "ICASE"])
def test_the_pathspecs_of_an_editor_do_not_hide_what_counts_as_a_change(repository, monkeypatch, how):
    """An editor that commits sets them for its hooks; with literal ones git knew no exception and no attribute."""
    monkeypatch.setenv(f"GIT_{how}_PATHSPECS", "1")
    written = repository / ("out.txt" if how == "LITERAL" else "OUT.txt")
    (repository / "out.txt").touch()
    assert git.uncommitted(repository, [written]) == (() if how == "LITERAL" else ("out.txt",))


def test_git_in_a_build_sees_the_tree_of_its_side(repository, folder, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    with sides.materialise("main~1", sides.WorkingTree.at(repository, "smoke"), folder, "git rm -q nets.py"):
        pass
    assert "nets.py" in run(repository, "ls-files")


def test_a_failing_hook_after_checkout_does_not_stop_a_check(repository, folder):
    """git-lfs installs such hooks, which fail if git-lfs itself is missing."""
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.write_text("#!/bin/sh\nexit 2\n")
    hook.chmod(0o755)
    with sides.materialise("main~1", sides.WorkingTree.at(repository, "smoke"), folder) as base:
        assert number(base) == "one"


def test_a_failed_checkout_is_reported_and_leaves_no_worktree(repository, folder):
    (repository / ".gitattributes").write_text("*.bin filter=away\n")
    (repository / "weights.bin").write_text("1")
    commit(repository, "weights")
    for name, value in (("smudge", "absent"), ("required", "true")):
        run(repository, "config", f"filter.away.{name}", value)
    with (
        pytest.raises(
            BuildFailed, match=r"git cannot check out .*: fatal: weights\.bin: smudge filter away failed"
        ) as raised,
        sides.materialise("main", sides.WorkingTree.at(repository, "smoke"), folder),
    ):
        pass
    assert "(error: cannot fork to run external filter 'absent'; " in str(raised.value)
    assert run(repository, "worktree", "list").count("\n") == 0


def test_a_base_is_built_in_its_own_tree(repository, folder):
    here = sides.WorkingTree.at(repository, "smoke")
    command = f'{sys.executable} -c \'open("nets.py", "w").write("NUMBER = 5")\''
    with sides.materialise("main~1", here, folder, command) as base:
        assert number(base) == "5"
    assert run(repository, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda here, _: here, "ref of this repository, wheel or directory: `git fetch` it"),
        (lambda _, tmp: tmp, "this is not a git repository: run this in one, or name a wheel or a directory"),
        (
            lambda here, tmp: (run(tmp, "clone", "-q", "--depth", "1", here.as_uri(), "shallow"), tmp / "shallow")[1],
            "ref of this clone, which is shallow: fetch it first, as in `git fetch --depth 1 origin nowhere`",
        ),
        (
            lambda here, tmp: (run(tmp, "clone", "-q", "--bare", str(here), "bare"), tmp / "bare")[1],
            "base 'nowhere' cannot be checked out: the repository here has no working tree, as a bare one: run this in",
        ),
    ],
    ids=["unknown", "no repository", "shallow", "bare"],
)
def test_a_base_that_is_not_found_says_what_to_do(repository, folder, tmp_path, prepare, message):
    here = sides.WorkingTree.at(prepare(repository, tmp_path), "smoke")
    with pytest.raises(ConvbenchError, match=message) as error, sides.materialise("nowhere", here, folder):
        pass
    assert error.value.exit_code == 2


def test_requirements_that_differ_are_noted(repository, folder):
    """A change of a pinned version used to be "ok": both sides run with the packages of this environment."""
    pyproject = repository / "pyproject.toml"
    pyproject.write_text('[project]\nname = "shop"\ndependencies = ["torch==2.12"]\n[tool.ruff]\nline-length = 80\n')
    (repository / "yarn.lock").write_text("old")
    commit(repository, "pinned")
    pyproject.write_text(pyproject.read_text().replace("80", "120"))
    (repository / "yarn.lock").write_text("new")
    here = sides.WorkingTree.at(repository, "smoke")
    with sides.materialise("HEAD", here, folder) as base, sides.materialise(".", here, folder) as head:
        assert requirements.notes(base, head) == []
        same = pyproject.read_text()
        for table in ("project.optional-dependencies", "tool.poetry.dependencies"):
            pyproject.write_text(f"{same}[{table}]\ndev = ['ruff']\n")
            assert "(pyproject.toml)" in requirements.notes(base, head)[0]
        pyproject.write_text(same.replace("2.12", "2.13"))
        (repository / "requirements").mkdir()
        (repository / "requirements" / "dev.txt").write_text("einops")
        (note,) = requirements.notes(base, head)
        assert note.startswith("requirements differ between base and head (requirements/dev.txt and pyproject.toml)")
        assert requirements.notes(replace(base, python="python3.99"), head) == []
        pyproject.write_text("no TOML [")  # its requirements can no longer be read
        assert "pyproject.toml" in requirements.notes(base, head)[0]


SETUP = "from setuptools import setup\nNEEDED_REQUIREMENTS = ['torch==2.12']\nsetup(version='1', install_requires={})\n"
CONFIG = """[metadata]
version = 1
[options]
install_requires =
  torch==2.12
  nets @ file:///%7Eme
[options.extras_require]
dev = ruff
"""


@pytest.mark.parametrize(
    ("name", "text", "same", "other"),
    [
        ("setup.py", SETUP.format("['torch==2.12']"), ("'1'", "'2'"), ("s=['torch==2.12'])", "s=['torch==2.13'])")),
        ("setup.py", SETUP.format("NEEDED_REQUIREMENTS"), ("'1'", "'2'"), ("2.12", "2.13")),
        ("setup.cfg", CONFIG, ("version = 1", "version = 2"), ("2.12", "2.13")),
        ("setup.cfg", CONFIG, ("version = 1", "version = 2"), ("ruff", "ruff==1")),
    ],
)
def test_requirements_in_setup_files_are_compared(repository, folder, name, text, same, other):
    (repository / name).write_text(text)
    commit(repository, "pinned")
    (repository / name).write_text(text.replace(*same))
    here = sides.WorkingTree.at(repository, "smoke")
    with sides.materialise("HEAD", here, folder) as base, sides.materialise(".", here, folder) as head:
        assert requirements.notes(base, head) == []
        (repository / name).write_text(text.replace(*other))
        good, bad = replace(base, alias="good"), replace(head, alias="bad")
        (note,) = requirements.notes(good, bad, "and so on")
        assert note == f"requirements differ between good and bad ({name}), but and so on"
        (repository / name).write_text("(")  # its requirements can no longer be read
        assert name in requirements.notes(base, head)[0]


def test_unrelated_histories_are_reported_as_having_no_common_commit(repository):
    run(repository, "checkout", "-q", "--orphan", "new")
    run(repository, "commit", "-qm", "new")
    said = git.why_not(repository, "base 'main...new'", "main...new")
    assert said == "base 'main...new' is not a ref: the two have no commit in common, as after a rewrite of history"
    assert "`git fetch` it" in git.why_not(repository, "base", "main...nowhere")


@pytest.mark.parametrize("ref", ["main~9", "HEAD^3", "main~9...HEAD"])
def test_an_ancestor_that_does_not_exist_is_not_to_be_fetched(repository, ref):
    name = ref[:4]
    assert git.why_not(repository, "base", ref) == f"base is not a ref: {name} has no such ancestor; name another"


@pytest.mark.parametrize("depth", [(), ("--depth", "1")])
@pytest.mark.parametrize("prefix", ["", "origin/", "upstream/"])
def test_the_advice_fetches_a_base_into_a_clone_of_one_branch(repository, tmp_path, depth, prefix):
    """In a clone of one branch, ``git fetch origin main`` kept main only as FETCH_HEAD: the same error returned.

    It named origin in repositories without a remote of that name, too.
    """
    run(repository, "branch", "release", "main~1")
    clone, name, remote = tmp_path / "clone", f"{prefix}release...HEAD", prefix.rstrip("/") or "upstream"
    run(tmp_path, "clone", "-q", "--single-branch", "--origin", remote, *depth, repository.as_uri(), "clone")
    assert git.commit(clone, name) is None
    advice = re.findall("`git (fetch [^`]+)`", git.why_not(clone, "base", name))
    run(clone, *advice[-1].split())
    assert git.commit(clone, name) == run(repository, "rev-parse", "main~1")
    for plain in ("nowhere", f"{remote}/nowhere"):
        assert f"{remote} nowhere" in git.why_not(clone, "base", plain)


def test_a_branch_off_the_first_parents_is_refused_with_advice(repository):
    run(repository, "checkout", "-qb", "side", "main~1")
    run(repository, "commit", "-q", "--allow-empty", "-m", "side")
    assert git.first_parent_commits(repository, run(repository, "rev-parse", "side"), "main") is None
    assert git.why_no_first_parents(repository, "side", "main").startswith(
        "main does not descend from side by first parents"
    )
    assert git.why_no_first_parents(repository, "main", "main~1").startswith("--bad main~1 is older than --good main")


def test_where_a_commit_is_required_the_advice_fits(repository, tmp_path):
    run(tmp_path, "clone", "-q", "--depth", "1", repository.as_uri(), "shallow")
    assert git.why_not(tmp_path / "shallow", "--good 'v9'", "v9", only_commits=True) == (
        "--good 'v9' is not a commit of this clone, which is shallow: `git fetch --unshallow`, or --deepen by as many "
        "commits as it takes (with actions/checkout, fetch-depth: 0)"
    )
    assert "`git fetch --unshallow`" in git.why_not(tmp_path / "shallow", "base", "0123abc01234")
    whole = "0123abc01234" + 28 * "0"
    assert f"`git fetch --depth 1 origin {whole}`" in git.why_not(tmp_path / "shallow", "base", whole)
    assert git.why_not(tmp_path, "--good 'v9'", "v9", only_commits=True) == (
        "--good 'v9' is not a commit, and this is not a git repository: run this in one"
    )


def test_gits_complaint_about_a_directory_is_repeated(repository, folder, monkeypatch):
    """If another user owns the directory, for example, advice to name a wheel would not help."""
    monkeypatch.setattr(sides.git, "top", lambda _: None)
    monkeypatch.setattr(sides.git, "_complaint", lambda _: "detected dubious ownership in repository")
    here = sides.WorkingTree(repository, repository, None)
    with (
        pytest.raises(ConvbenchError, match="base 'main' cannot be looked up as a ref: git says: detected dubious"),
        sides.materialise("main", here, folder),
    ):
        pass


def test_file_names_of_another_encoding_are_listed(repository):
    (repository / os.fsdecode(b"caf\xe9.txt")).write_text("")
    assert sides.git.changed_files(repository, "main") == [os.fsdecode(b"caf\xe9.txt")]


def test_a_repositorys_path_may_have_any_name(repository, folder, tmp_path):
    odd = repository.rename(tmp_path / os.fsdecode(b"caf\xe9 & \xc3\xa9t\xc3\xa9 "))
    with sides.materialise("main~1", sides.WorkingTree.at(odd, "smoke"), folder) as base:
        assert number(base) == "one"
    assert git.top(odd / "speed") == odd


def test_a_path_with_a_separator_in_it_is_refused(repository, tmp_path):
    """A worker would look for modules in two folders and find none."""
    with pytest.raises(ConvbenchError, match="its path holds ':', which separates folders: move or rename it"):
        sides.WorkingTree.at(repository.rename(tmp_path / "a:b"), "smoke")


def test_files_that_a_check_writes_do_not_make_it_dirty(repository, folder):
    written = (repository / "out" / "check.json",)
    (repository / "out").mkdir()
    written[0].write_text("{}")
    for but, dirty in ((written, False), ((), True)):
        with sides.materialise(".", sides.WorkingTree.at(repository, "smoke", but), folder) as side:
            assert side.dirty is dirty


def test_without_git_a_directory_works_and_a_ref_is_refused(repository, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    here = sides.WorkingTree.at(repository, "smoke")
    with pytest.raises(ConvbenchError, match="git is not installed"), sides.materialise("main", here, folder):
        pass
    with sides.materialise(str(repository), here, folder) as base:
        assert number(base) == "two"


def test_an_option_is_not_read_as_a_ref(repository):
    assert git.commit(repository, "--help") is None


def test_only_the_worktree_of_a_dead_check_is_removed(repository, folder, tmp_path):
    dead, living = tmp_path / "convbench-check-dead", tmp_path / "convbench-check-living"
    users = tmp_path / "mine"
    for left_behind in (dead, living):
        left_behind.mkdir()
        (left_behind / "lock").write_text("1")
        run(repository, "worktree", "add", "-q", "--detach", str(left_behind / "base"), "main")
    run(repository, "worktree", "lock", str(dead / "base"))  # as git does until a new worktree is complete
    run(repository, "worktree", "add", "-q", "--detach", str(users), "main")
    with lock.hold(living / "lock"), sides.materialise("main~1", sides.WorkingTree.at(repository, "smoke"), folder):
        pass
    left = run(repository, "worktree", "list")
    assert not dead.exists()
    assert str(dead) not in left
    assert str(living) in left
    assert str(users) in left


def test_a_check_keeps_another_worktree_that_is_not_mounted(repository, folder, tmp_path):
    """This is the host's worktree, seen from a container that mounts only the main repository."""
    mine, gone = tmp_path / "mine", tmp_path / "convbench-check-gone" / "base"
    for tree in (mine, gone):
        run(repository, "worktree", "add", "-q", "--detach", str(tree), "main")
    shutil.rmtree(gone.parent)
    mine.rename(tmp_path / "elsewhere")
    with sides.materialise("main~1", sides.WorkingTree.at(repository, "smoke"), folder):
        pass
    assert str(gone) not in run(repository, "worktree", "list")
    (tmp_path / "elsewhere").rename(mine)
    assert run(mine, "rev-parse", "HEAD") == run(repository, "rev-parse", "main")


def test_an_interpreter_path_is_relative_to_the_callers_folder(repository, folder, monkeypatch):
    """A worker starts in the tree of its side, which lacks the caller's environment."""
    monkeypatch.chdir(repository)
    (repository / "venv").mkdir()
    (repository / "venv" / "python").symlink_to(sys.executable)
    with sides.materialise("main", sides.WorkingTree.at(repository, "smoke"), folder) as base:
        other = sides.with_python(base, "venv/python", folder)
        assert number(other) == "two"
    assert other.python == str(repository / "venv" / "python")


def test_another_interpreter_gets_this_convbench_on_its_path(repository, folder):
    with sides.materialise(".", sides.WorkingTree.at(repository, "smoke"), folder) as head:
        other = sides.with_python(head, sys.executable, folder)
    assert (other.paths[-1] / "convbench" / "__init__.py").is_file()
    assert other.label == f"{sys.executable} in working tree"  # a message adds "at" and its commit
    with pytest.raises(ConvbenchError, match="no such program"):
        sides.with_python(head, "python-of-nowhere", folder)


def test_the_second_check_waits_for_the_first_and_says_so(tmp_path):
    messages, order = [], []

    def second() -> None:
        with lock.hold(tmp_path / "lock", messages.append):
            order.append("second")

    with lock.hold(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        while not messages:
            pass
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert messages == [str(os.getpid())]
    assert not lock.is_held(tmp_path / "lock")


def test_who_only_asks_about_a_lock_does_not_hold_it(tmp_path, monkeypatch):
    """A run that began while another process listed the runs was refused, as if its directory were in use."""
    place = tmp_path / "lock"
    place.touch()
    with place.open() as query:
        lock.fcntl.flock(query, lock.fcntl.LOCK_SH)
        monkeypatch.setattr(lock.time, "sleep", lambda _: lock.fcntl.flock(query, lock.fcntl.LOCK_UN))
        with lock.hold(place, pytest.fail):
            assert lock.is_held(place)


def test_users_and_jobs_with_other_temporary_folders_share_a_machines_lock(tmp_path, monkeypatch):
    """It lay in TMPDIR, which some systems set for each user, session or job: their checks measured each other."""
    monkeypatch.delenv(lock.VARIABLE, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = lock.machine_lock()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "of another job"))
    assert lock.machine_lock() == place
    monkeypatch.setattr(lock, "SHARED", tmp_path / "nowhere")
    assert lock.machine_lock().parent == tmp_path / "of another job"
    monkeypatch.setenv(lock.VARIABLE, str(tmp_path / "shared"))
    assert lock.machine_lock().parent == tmp_path / "shared"


def test_another_user_can_take_a_lock_whatever_the_umask(tmp_path):
    earlier_mask = os.umask(0o077)
    try:
        with lock.hold(tmp_path / "lock"):
            assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(earlier_mask)


def test_a_lock_file_of_another_user_is_taken_without_being_written(tmp_path, monkeypatch):
    """The id of its earlier holder stays in it, so the message to those who wait named a process long gone."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    (tmp_path / "lock").write_text(f"{ended.pid}")
    really_open = os.open

    def refuse_writing(path, flags, *mode):
        if flags & os.O_CREAT:  # as Linux does in a folder like /tmp, whatever the file's mode
            raise PermissionError(13, "Permission denied")
        return really_open(path, flags, *mode)

    def refuse(pid):
        raise RuntimeError(pid)

    monkeypatch.setattr(lock.os, "open", refuse_writing)
    with lock.hold(tmp_path / "lock"):
        assert lock.is_held(tmp_path / "lock")
        for text, name in ((f"{ended.pid}", ""), ("9" * 20, ""), ("odd", ""), (f"{os.getpid()}", f"{os.getpid()}")):
            (tmp_path / "lock").write_text(text)
            with pytest.raises(RuntimeError, match=f"^{name}$"), lock.hold(tmp_path / "lock", refuse):
                pass


def test_a_lock_is_released_while_a_fork_holds_its_file(tmp_path, monkeypatch):
    """The workers of a data loader are forked processes, and hold a copy of the lock's descriptor."""
    copies, open_ = [], lock._open
    monkeypatch.setattr(lock, "_open", lambda *args: copies.append(os.dup(file := open_(*args))) or file)
    with lock.hold(tmp_path / "lock"):
        assert not lock.is_free(tmp_path / "lock")
    assert lock.is_free(tmp_path / "lock")
    os.close(*copies)


def test_the_scratch_folder_is_removed_after_an_error():
    with pytest.raises(RuntimeError), sides.scratch_folder() as scratch:
        (scratch / "base").mkdir()
        raise RuntimeError
    assert not scratch.exists()


@pytest.mark.parametrize("subject", ["use\x0cfast path", "use\rfast path", "use\x1b[2Jfast path"])
def test_a_subject_with_control_characters_is_one_commit(repository, subject):
    run(repository, "commit", "-q", "--allow-empty", "-m", subject)
    commits = [run(repository, "rev-parse", f"main~{back}") for back in (2, 1, 0)]
    for place, good in enumerate(commits):
        line = git.first_parent_commits(repository, good, commits[-1])
        assert [commit for commit, _ in line] == commits[place:]
        assert line[-1][1].isprintable()


def test_signatures_in_the_log_are_not_read_as_commits(repository, tmp_path):
    signer = tmp_path / "signer"
    signer.write_text(
        '#!/bin/sh\ncat > /dev/null\necho "gpg: Good signature" >&2\necho "[GNUPG:] SIG_CREATED x" >&2\n'
        "echo -----BEGIN PGP SIGNATURE-----\necho x\necho -----END PGP SIGNATURE-----\n"
    )
    signer.chmod(0o755)
    for name, value in (("gpg.program", str(signer)), ("log.showSignature", "true")):
        run(repository, "config", name, value)
    run(repository, "commit", "-q", "--allow-empty", "-S", "-m", "signed")
    good, bad = run(repository, "rev-parse", "main~2"), run(repository, "rev-parse", "main")
    assert "Good signature" in run(repository, "log", "--format=%H")
    assert len(git.first_parent_commits(repository, good, bad)) == 3
    assert git.commits(repository)[-1] == bad


def test_an_untrusted_repository_above_a_folder_is_reported(repository, monkeypatch):
    def distrust(*words, **more):
        raise subprocess.CalledProcessError(128, "git", stderr=b"fatal: detected dubious ownership in repository")

    monkeypatch.setattr(git.subprocess, "run", distrust)
    assert "git says: detected dubious ownership" in git.why_not(repository / "speed", "base", "main")


def test_another_users_lock_is_neither_held_nor_free(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "lock").touch()
    monkeypatch.setattr(lock.os, "open", refuse)
    assert not lock.is_held(tmp_path / "lock")
    assert not lock.is_free(tmp_path / "lock")
    with (
        pytest.raises(StoreError, match=r"cannot be written \(Permission denied\): set TMPDIR"),
        lock.hold(tmp_path / "lock", remedy=lock.REMEDY),
    ):
        pass


def test_uncommitted_files_are_named(tmp_path):
    """A renamed file has its new name. A file that a check writes itself is no change."""
    for words in (("init", "-q"), ("config", "user.email", "a@b.c"), ("config", "user.name", "n")):
        run(tmp_path, *words)
    (tmp_path / "net.py").write_text("a line that both names have\n" * 20)
    run(tmp_path, "add", ".")
    run(tmp_path, "commit", "-qm", "first")
    assert git.uncommitted(tmp_path) == ()
    run(tmp_path, "mv", "net.py", "model.py")
    (tmp_path / "summary.md").write_text("")
    (tmp_path / "übersicht.md").write_text("")
    assert git.uncommitted(tmp_path, [tmp_path / "summary.md"]) == ("model.py", "übersicht.md")
    assert some(["a", "b\udcff", "c", "d", "e"]) == "a, b\N{REPLACEMENT CHARACTER}, c and 2 more"
    assert some(["a", "b"]) == "a and b"


def test_a_tree_about_which_git_fails_is_not_taken_for_clean(repository, folder, monkeypatch):
    """A killed job leaves such an index: a run of changed code counted as one of its commit, and a check resumed."""
    here = sides.WorkingTree.at(repository, "smoke")
    with sides.materialise("main", here, folder) as base:
        (repository / ".git" / "index").write_bytes(b"DIRC")
        with sides.materialise(".", here, folder) as head:
            assert head.dirty and head.commit == base.commit
        with pytest.raises(Refused, match=r"what differs from \w{12}: `git diff --name-only --no-renames \w{12}` in /"):
            git.changed_files(repository, base.commit)
        assert git.changed_files(repository, "1" * 40) == [], "a commit of another clone"
    monkeypatch.chdir(repository)
    assert environment.describe("cpu")["dirty"] is True


def test_a_file_that_git_lfs_has_not_fetched_is_named(repository, monkeypatch):
    """torch.load advises to load a pointer without safety checks; a checkout in CI fetches no such files by default."""
    (repository / ".gitattributes").write_text("*.pt filter=lfs\n")
    weights = repository / "weights.pt"
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    commit(repository, "weights")
    monkeypatch.chdir(repository / "speed")
    monkeypatch.syspath_prepend(repository / "speed")
    reasons = []
    for content in (None, "damaged"):
        weights.write_text(content or weights.read_text())
        with pytest.raises(pickle.UnpicklingError) as caught:
            pickle.loads(weights.read_bytes())
        reasons.append(attempts.explain(caught.value).message)
        (repository / "speed" / "loads.py").write_text("import pickle; pickle.load(open('../weights.pt', 'rb'))")
        with pytest.raises(ConvbenchError, match="cannot import 'loads:build': UnpicklingError") as at_import:
            imports.import_path("loads:build")
        reasons.append(str(at_import.value))
    hint = "../weights.pt is only a pointer: `git lfs install && git lfs pull` fetches the file"
    assert [hint in reason for reason in reasons] == [True, True, False, False]
    assert hint not in attempts.explain(ValueError("a size does not fit")).message
