"""Test inputs from careless users and from attackers. Each input once caused a fault."""

from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import http.client
import importlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import tomllib
import zlib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from unittest.mock import Mock
from xml.etree import ElementTree

import forked
import pytest
import records as made
from packaging.requirements import Requirement

from convbench.analysis.history import overview
from convbench.analysis.table import write_csv
from convbench.check import ci
from convbench.check.outcome import CaseOutcome, Outcome, SideOutcome
from convbench.check.programs.worker import Server
from convbench.check.settings import Rule, Settings
from convbench.core import code, errors, imports, installed, text
from convbench.core.errors import ConvbenchError, StoreError, SuiteError
from convbench.core.record import Failure, Protocol, RunDescription
from convbench.core.storage import cache, store
from convbench.core.system import files, lock, scratch
from convbench.measure.machine import toolchain
from convbench.report.viewers import perfetto
from convbench.runs.preparation import PreparedRun
from convbench.suite import load
from convbench.suite.selection import Plan

TESTS = Path(__file__).parent
RUN = RunDescription(
    "tiny", "convbench run tiny", "matrix: {}", Protocol(), (), ("a", "b"), started="2026-11-22T10:00:00+00:00"
)


def convbench(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    return forked.python("-m", "convbench", *words, cwd=cwd)


OWN_VARIANT = """
import threading
print("hello")
threading.Thread(target=threading.Event().wait).start()

def make(model):
    return model
"""


def test_a_variants_import_does_not_affect_the_main_process(tmp_path):
    """The command used to import the variant to find its packages, and never ended."""
    (tmp_path / "fast.py").write_text(OWN_VARIANT)
    (tmp_path / "suite.yaml").write_text("matrix: {reducer: gap, clip: 1x2x3x8x8, variant: 'fast:make'}")
    options = ("--metrics", "params,latency", "protocol.visits=1", "protocol.max_time=0.05", "--json", "--quiet")
    done = convbench("run", "suite.yaml", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


@pytest.mark.parametrize(
    "yaml",
    [
        'name: "\\U00110000"\nmatrix: {reducer: gap}\n',
        "matrix: {reducer: gap}\nprotocol: {seed: !!int ''}\n",
        "matrix: {reducer: gap}\nprotocol: {max_time: !!float ''}\n",
        "matrix: {reducer: gap, layer_norm: !!bool foo}\n",
        "matrix: {reducer: gap(k=2001-99-99)}\n",
        "matrix: {reducer: gap}\nprotocol: {seed: 0b" + "1" * 50_000 + "}\n",
        "matrix: {model: '..:build'}\n",
        "%YAML 1.3\n---\nmatrix: {reducer: gap}\n",
    ],
    ids=["escape", "empty int", "empty float", "no bool", "date", "large number", "dots", "version"],
)
def test_invalid_yaml_is_refused_without_a_traceback(tmp_path, yaml):
    (tmp_path / "suite.yaml").write_text(yaml)
    with pytest.raises(SuiteError, match=r"suite\.yaml:"):
        load(str(tmp_path / "suite.yaml"))


@pytest.mark.parametrize("override", ["protocol.seed=!!int ''", "layer_norm=!!bool foo", "reducer=gap(k=2001-99-99)"])
def test_invalid_overrides_are_refused_without_a_traceback(tmp_path, override):
    (tmp_path / "suite.yaml").write_text("matrix: {reducer: gap}\n")
    with pytest.raises(SuiteError, match="override"):
        load(str(tmp_path / "suite.yaml"), [override])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_suite_with_anchors_is_read_in_any_yaml_encoding(tmp_path, encoding):
    yaml = "x-common: &c {channels: 4}\nname: ä\nmatrix: {reducer: gap, backbone: {name: conv, <<: *c}}\n"
    (tmp_path / "suite.yaml").write_bytes(yaml.encode(encoding))
    assert [str(case.architecture.backbone) for case in load(str(tmp_path / "suite.yaml")).cases] == [
        "conv(channels=4)"
    ]


def test_a_plugin_that_ends_the_process_on_import_is_reported(tmp_path, monkeypatch):
    """``os._exit(1)`` ended `check` with the exit code of a confirmed regression, without a word."""
    (tmp_path / "ends_at_once.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(installed, "_missing_plugins", {})
    end_now = os._exit
    installed.bring(installed.PluginModule("ends_at_once", "ends_at_once"))
    (missing,) = installed.missing_plugins()
    assert missing.reason.startswith("cannot import 'ends_at_once': the module ends the program when it is imported")
    assert os._exit is end_now


def test_a_plugin_that_prints_and_changes_the_folder_on_import_affects_no_command(tmp_path, monkeypatch, capsys):
    """Its words stood in the JSON of an export, and the run's relative path named a folder elsewhere."""
    (tmp_path / "talks.py").write_text("import os\nprint('loaded')\nos.chdir('/')\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    installed.bring(installed.PluginModule("talks", "talks"))
    assert (Path.cwd(), *capsys.readouterr()) == (tmp_path, "", "loaded\n")


def test_a_plugin_whose_import_does_not_end_is_named(capsys, monkeypatch):
    app = importlib.import_module("convbench.cli.app")  # ``cli.app`` is the application
    monkeypatch.setattr(app, "PATIENCE", 0.0)
    text, deadline = "", time.monotonic() + 60
    with app._say_if_slow("shop.reducers"):
        while not text and time.monotonic() < deadline:
            text = capsys.readouterr().err
    assert text == "convbench: --plugins shop.reducers has been importing for 0 s: Ctrl-C ends it\n"


def test_a_suite_name_of_thousands_of_letters_is_refused():
    with pytest.raises(SuiteError, match="File name too long"):
        load("a" * 5000)


def test_the_users_modules_do_not_shadow_the_standard_library(tmp_path, monkeypatch):
    (tmp_path / "statistics.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "mymodel.py").write_text("import statistics\nbuild = statistics.fmean\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "statistics")
    imports.add_to_path([tmp_path])
    import mymodel  # type: ignore[import-not-found]

    assert mymodel.build([1.0, 3.0]) == 2.0
    digests = {"mymodel": hashlib.sha256((tmp_path / "mymodel.py").read_bytes()).hexdigest()[:12]}
    assert {name: code.module_digests().get(name) for name in ("mymodel", "statistics")} == {
        **digests,
        "statistics": None,
    }
    assert code.changed_files(digests) == []
    (tmp_path / "mymodel.py").write_text("changed = True\n")
    assert code.changed_files(digests) == ["mymodel.py"]


def test_a_users_module_called_like_a_package_of_ours_is_refused(tmp_path, monkeypatch):
    """A ``torch.py`` in the working directory ran in the command's own process, which ended in a traceback."""
    (tmp_path / "torch.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "scipy").mkdir()  # a folder without a module of that name takes no place
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ConvbenchError, match=r"torch\.py: would be imported in place of .* torch: rename it, or call"):
        imports.add_to_path([tmp_path])
    (tmp_path / "torch.py").rename(tmp_path / "torches.py")
    imports.add_to_path([tmp_path])
    assert str(tmp_path) in sys.path


@pytest.mark.parametrize("name", imports.OPTIONAL)
def test_a_users_module_called_like_an_optional_package_of_pandas_or_torch_is_refused(name, tmp_path, monkeypatch):
    """A bottleneck.py was run by the command when pandas imported it, after all measurements: no page was written."""
    (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if not entry.endswith("-packages")])
    with pytest.raises(ConvbenchError, match=rf"{name}\.py: .* in place of the optional package {name}:"):
        imports.add_to_path([tmp_path])


def test_packages_that_no_users_module_may_replace_are_those_convbench_requires():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", requirement)[0].replace("-", "_") for requirement in project["dependencies"]}
    assert names - {"ruamel", "scikit_learn"} | {"sklearn"} == set(imports.REQUIRED)


def test_packages_that_no_users_module_may_replace_include_those_that_they_require():
    """A packaging.py beside the suite was run by the command when matplotlib imported it, after all measurements."""
    names, closure = ["convbench", "nvidia-ml-py"], set()
    while names:
        distribution = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if distribution not in closure:
            closure.add(distribution)
            with suppress(PackageNotFoundError):
                requirements = map(Requirement, requires(distribution) or ())
                names += [
                    needed.name for needed in requirements if not needed.marker or needed.marker.evaluate({"extra": ""})
                ]
    modules = {
        module
        for module, owners in packages_distributions().items()
        if closure & {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
    }
    nobodys = {"_distutils_hack", "_yaml", "annotated_doc", "convbench", "example", "functorch", "isympy", "pylab"}
    assert modules - nobodys <= {*imports.REQUIRED, *imports.OF_REQUIRED}


def test_modules_only_user_code_finds_are_not_reported_as_changed(tmp_path, monkeypatch):
    """A model that puts ``third_party/RAFT`` on the path when it is imported has such modules, for example."""
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    elsewhere = {"core_raft": "0" * 12, "core_raft.update": "0" * 12}
    assert code.changed_files({**elsewhere, "mypackage.gone": "0" * 12}) == ["mypackage.gone"]


@pytest.mark.parametrize(("kind", "is_other"), [("copy", True), ("none", False), ("link", False), ("own", False)])
def test_a_module_that_comes_from_another_clone_is_named(tmp_path, monkeypatch, kind, is_other):
    """In a second worktree an editable install led to the first, and the run noted the commit of the second."""
    first, second = tmp_path / "first", tmp_path / "second"
    for tree in (first, second):
        (tree / "src" / "farnet").mkdir(parents=True)
    for name in ("__init__.py", "net.py"):
        (first / "src" / "farnet" / name).touch()
        if kind == "copy":
            (second / "src" / "farnet" / name).touch()
        elif kind == "link":
            (second / "src" / "farnet" / name).symlink_to(first / "src" / "farnet" / name)
    monkeypatch.setattr(sys, "path", [*sys.path, str(first / "src")])
    top = first if kind == "own" else second
    files = (first / "src" / "farnet" / "net.py", second / "src" / "farnet" / "net.py", second / "src")
    elsewhere = code.elsewhere(top, ["json", "absent.net", "farnet.net"])
    assert elsewhere == (("farnet.net", *files) if is_other else None)
    executor = Mock(hosts=[Mock(facts={"cpu": "fast", "commit": "1" * 12, "dirty": False})])
    prepared = PreparedRun(Mock(), Plan((), {}, elsewhere=elsewhere), Mock(), "", executor)
    assert set(prepared.facts) == ({"cpu"} if is_other else {"cpu", "commit", "dirty"})


@pytest.mark.parametrize("answer", [lambda module, _: module, Mock(side_effect=RuntimeError("not loaded"))])
def test_what_stands_in_for_a_missing_package_fails_no_case(answer, monkeypatch):
    """Models stub packages such as flash_attn: each case was measured, and failed when its code was noted."""
    monkeypatch.setitem(sys.modules, "stand_in", type("StandIn", (), {"__getattr__": answer})())
    assert "stand_in" not in code.module_digests()
    assert "stand_in" not in Server().modules()["files"]
    assert "convbench.core.code" in Server().modules()["files"]


def test_a_package_that_hides_another_of_its_name_is_reported_with_both_places(tmp_path, monkeypatch):
    """Every second repository calls its package models; the message was only that there is no module models.net."""
    for name, module in (("here", "other"), ("beside the suite", "net")):
        (tmp_path / name / "twins").mkdir(parents=True)
        (tmp_path / name / "twins" / "__init__.py").touch()
        (tmp_path / name / "twins" / f"{module}.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "here"), str(tmp_path / "beside the suite")])
    monkeypatch.delitem(sys.modules, "twins", raising=False)
    hiding, hidden = tmp_path / "here" / "twins", tmp_path / "beside the suite" / "twins" / "net"
    with pytest.raises(
        ConvbenchError, match=r"No module named 'twins\.net'; the package 'twins' is the one in "
    ) as error:
        imports.import_path("twins.net:build")
    assert f"in {hiding}, which hides the one with {hidden}: rename one of them, or run elsewhere" in str(error.value)
    with pytest.raises(ConvbenchError, match=f"'twins.absent'; the package 'twins' is the one in {hiding}: correct"):
        imports.import_path("twins.absent:build")


def test_a_package_that_cannot_be_imported_is_no_bug_of_ours(tmp_path, monkeypatch):
    """Beside an old numpy, pandas raises ImportError: "this is a bug in convbench: please report it"."""
    package = tmp_path / "site-packages" / "broken_frames" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("raise ImportError('not built') from ImportError('Please upgrade numpy')")
    monkeypatch.syspath_prepend(package.parents[1])
    with pytest.raises(ImportError) as caught:
        importlib.import_module("broken_frames")
    error = caught.value.with_traceback(caught.tb.tb_next)  # without this test's own line, which would be the user's
    assert code.missing_module(error) == (
        "broken_frames cannot be imported (ImportError: Please upgrade numpy): repair its installation, for example "
        "with pip"
    )
    assert code.missing_module(ImportError("no frame of an import")) == ""


@pytest.mark.parametrize("folder", ["/my nets", "~"])
def test_a_folder_with_blanks_or_in_a_home_is_written_for_the_shell(folder, monkeypatch):
    monkeypatch.setenv("HOME", "/my nets")
    hint = imports.hint(f"{folder}/net.py:build", ModuleNotFoundError("no", name=f"{folder}/net"))
    assert "write net:build and" in hint
    assert "PYTHONPATH='/my nets' convbench" in hint


@pytest.mark.parametrize("path", ["./net v1.2.py", "net v1.2.py", "/my nets/net v1.2.py"])
def test_the_hint_for_a_file_with_a_dot_in_its_name_is_to_rename_it(path):
    hint = imports.hint(f"{path}:build", ModuleNotFoundError("no", name="net v1"))
    assert hint == "; Python imports no file with a dot in its name: rename 'net v1.2.py' to 'net v1_2.py'"


def test_the_hint_for_a_file_above_names_its_package(tmp_path, monkeypatch):
    """The path is written from the suite's folder: PYTHONPATH=../models led nowhere, and lost the package."""
    for folder in ("app", "app/models"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "app" / "models" / "net.py").touch()
    (tmp_path / "app" / "bench").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "app" / "bench")])
    hint = imports.hint("../models/net.py:build", TypeError())
    assert "write app.models.net:build and put its package on the path, as in PYTHONPATH=. convbench" in hint


def test_packages_without_init_are_found_and_not_imported(tmp_path, monkeypatch):
    """It was KeyError: 'acme', and no case was measured."""
    (tmp_path / "src" / "acme" / "vision").mkdir(parents=True)
    file = tmp_path / "src" / "acme" / "vision" / "net.py"
    file.touch()
    monkeypatch.chdir(tmp_path)
    missing = ModuleNotFoundError("no", name="acme")
    assert "it lies in src: put that on the path" in imports.hint("acme.vision.net:build", missing)
    monkeypatch.syspath_prepend(tmp_path / "src")
    assert code._file("acme.vision.net") == str(file)
    assert "acme" not in sys.modules


def test_a_script_from_a_pipe_is_no_module(tmp_path, monkeypatch):
    """``python - < script.py``: the model beside it was refused with FileNotFoundError: '<stdin>'."""
    (tmp_path / "piped_net.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "<stdin>", raising=False)
    assert not imports.is_script("piped_net")


def test_the_hint_for_a_missing_module_names_its_source_folder(tmp_path, monkeypatch):
    package = tmp_path / "src" / "mynet"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    hint = imports.hint("mynet:build", ModuleNotFoundError("no", name="mynet"))
    assert "it lies in src" in hint
    assert "PYTHONPATH=src" in hint
    nowhere = imports.hint("absent:build", ModuleNotFoundError("no", name="absent"))
    assert nowhere == "; put it beside the suite or here, or install it"
    assert not imports.hint("mynet:build", ModuleNotFoundError("no", name="absent")), "a module that it imports itself"
    in_a_circle = ImportError("cannot import name 'Net' from partially initialized module 'mynet'", name="mynet")
    assert not imports.hint("mynet:build", in_a_circle)  # the hint used to say that it is not on the path


def test_a_full_disk_stores_a_whole_record_or_nothing(tmp_path, monkeypatch):
    store.start(tmp_path, RUN)
    store.append(tmp_path, made.record(made.case("gap")))
    before = (tmp_path / "results.jsonl").read_bytes()
    real, left = os.write, [50]

    def nearly_full(descriptor: int, data: bytes) -> int:
        count = real(descriptor, bytes(data)[: left[0]])
        left[0] -= count
        if not count:
            raise OSError(28, "No space left on device")
        return count

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.append(tmp_path, made.record(made.case("fc", 64)))
    with pytest.raises(StoreError, match="No space left on device"):
        files.write(tmp_path / "run.json", "other")
    monkeypatch.undo()
    assert (tmp_path / "results.jsonl").read_bytes() == before
    assert store.load(tmp_path)[0] == RUN
    assert not list(tmp_path.glob("*.part"))


def test_lone_surrogates_are_stored_as_escapes(tmp_path):
    store.start(tmp_path, RUN)
    failed = made.record(made.case("gap"))
    from dataclasses import replace

    failed = replace(failed, status="failed", failure=Failure("error", os.fsdecode(b"caf\xe9")))
    store.append(tmp_path, failed)
    assert store.load(tmp_path)[1][0].failure.message == "caf\\udce9"


def test_an_earlier_run_is_never_overwritten(tmp_path):
    for _ in range(3):
        store.start(tmp_path, RUN, [made.record(made.case("gap"))])
    assert len(list((tmp_path / "previous").iterdir())) == 2
    (tmp_path / "run.json").unlink()
    store.start(tmp_path, RUN)
    assert len(list((tmp_path / "previous").iterdir())) == 3
    assert store.load(tmp_path)[1] == []


def test_a_lock_does_not_follow_a_link(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StoreError, match="cannot be used as a lock"), lock.hold(tmp_path / "lock"):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


def failing(code):
    def fails(*_, **__):
        raise OSError(code, os.strerror(code))

    return fails


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_on_a_file_system_without_locks_nothing_is_collected(tmp_path, monkeypatch, code):
    monkeypatch.setattr(lock.fcntl, "flock", failing(code))
    with lock.hold(tmp_path / "lock", Mock(side_effect=AssertionError)):
        assert not lock.is_held(tmp_path / "lock")
        assert not lock.is_free(tmp_path / "lock")


def test_queries_of_a_lock_do_not_see_each_other(tmp_path):
    (tmp_path / "lock").write_text("9" * 20)
    with (tmp_path / "lock").open() as query:
        lock.fcntl.flock(query, lock.fcntl.LOCK_SH)
        assert lock.is_free(tmp_path / "lock")
    with lock.hold(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_only_old_files_of_killed_writers_are_removed(tmp_path, monkeypatch):
    files.write(tmp_path / "run.json", "first")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", Mock(side_effect=KeyboardInterrupt))
        patch.setattr(Path, "unlink", Mock())  # a killed process removes nothing
        files.write(tmp_path / "run.json", "second")
    (part,) = tmp_path.glob(".*.part")
    young, of_another = part.rename(part.with_stem(f"{part.stem}1")), tmp_path / ".12345678-1.part"
    old = young.with_stem(f"{young.stem}2")
    for path in (old, of_another):
        path.touch()
        os.utime(path, (0, 0))
    files.write(tmp_path / "run.json", "third")
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", young.name, of_another.name}


def test_an_unwritable_folder_is_not_blamed_on_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.os, "open", failing(errno.EROFS))
    with pytest.raises(StoreError, match=r"cannot be written \(Read-only file system\): choose another place"):
        lock.hold(tmp_path / "lock").__enter__()


def test_a_lock_is_queried_without_writing(tmp_path):
    assert not lock.is_held(tmp_path / "absent" / "lock")
    with lock.hold(tmp_path / "lock"):
        (tmp_path / "lock").chmod(0o444)
        assert lock.is_held(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == [tmp_path / "lock"]


def test_without_a_home_only_the_cache_is_missing(tmp_path, monkeypatch):
    """This happens in a container that does not know the user."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    assert cache.numbers("floor", {}) == []
    with pytest.raises(StoreError, match=r"cannot be written .*: set XDG_CACHE_HOME"):
        cache.keep("floor", {}, 1.0)
    with pytest.raises(StoreError, match="there is no run"):
        overview.history(overview.HistoryQuery((tmp_path,)))


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path, monkeypatch, number):
    """A read-only mount was "Permission denied", and a full disk was found when everything was measured."""
    monkeypatch.setattr(files.tempfile, "TemporaryFile", failing(number))
    with pytest.raises(StoreError) as refusal:
        files.refuse_unwritable(tmp_path / "new" / "check.json", "choose another place with --json")
    reason = f"({os.strerror(number)}): choose another place with --json"
    assert str(refusal.value) == f"{tmp_path / 'new' / 'check.json'}: cannot be written {reason}"


def test_a_place_behind_a_link_is_refused_if_writing_there_fails(tmp_path):
    """A loop of links was taken for a place to write, and a file in the way of a folder for a file that exists."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "link").symlink_to(tmp_path / "new" / "check.json")
    (tmp_path / "file").touch()
    for place, number in (("loop", errno.ELOOP), ("loop/a", errno.ELOOP), ("file/a/b", errno.ENOTDIR)):
        for attempt in (
            files.refuse_unwritable,
            lambda path: files.write(path, ""),
            lambda path: files.append(path, ""),
        ):
            with pytest.raises(StoreError, match=re.escape(f"cannot be written ({os.strerror(number)}): ")):
                attempt(tmp_path / place)
    files.refuse_unwritable(tmp_path / "link")
    assert not (tmp_path / "new").exists()
    files.write(tmp_path / "link", "kept")
    assert (tmp_path / "new" / "check.json").read_text() == "kept"


def test_without_a_folder_for_temporary_files_there_is_one_message(monkeypatch):
    """In a read-only container, `run` and `doctor` ended with a traceback."""
    monkeypatch.setattr("tempfile.gettempdir", failing(errno.ENOENT))
    message = "no folder for temporary files can be written: set TMPDIR to a folder that you can write to"
    monkeypatch.setattr(lock, "SHARED", Path("nowhere"))
    for attempt in (scratch.open_folder, lock.machine_lock):
        with pytest.raises(StoreError, match=message):
            attempt()
    monkeypatch.setattr(toolchain.shutil, "which", lambda _: "/usr/bin/g++")
    monkeypatch.setattr(toolchain.Path, "exists", lambda _: True)
    assert toolchain.missing_tool() == message


@pytest.mark.skipif(not hasattr(os, "ST_NOEXEC"), reason="Linux tells how a folder is mounted")
def test_a_folder_for_temporary_files_without_programs_lets_nothing_compile(monkeypatch):
    """Compiled cases failed, and torch advised to set a variable that convbench sets itself."""
    monkeypatch.setattr(toolchain, "_compiler", lambda: "sh")
    monkeypatch.setattr(toolchain, "_missing_everywhere", lambda: None)
    monkeypatch.setattr(toolchain.os, "statvfs", lambda _: Mock(f_flag=os.ST_NOEXEC))
    assert "is mounted noexec, so nothing built there runs: set TMPDIR" in toolchain.missing_tool()


def test_an_error_of_the_compiler_gives_its_cause():
    """On a full disk, the message was "CppCompileError: C++ compile error"."""
    output = "In file included from a.h:1:\n\na.cpp: fatal error: No space left on device\ncompilation terminated."
    error = RuntimeError(f"CppCompileError: C++ compile error\n\nCommand:\ng++ a.cpp\n\nOutput:\n{output}\n\nSet V=1")
    line = "CppCompileError: C++ compile error: a.cpp: fatal error: No space left on device"
    assert errors.line_of(error) == line


def test_a_full_disk_for_scratch_is_one_message(monkeypatch):
    monkeypatch.setattr("tempfile.mkdtemp", failing(errno.ENOSPC))
    with pytest.raises(StoreError, match=r"no scratch folder can be made .*: set TMPDIR to a folder"):
        scratch.open_folder()


def test_a_new_scratch_folder_is_not_collected(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = scratch.open_folder()
    (made / scratch.LOCK).touch()
    scratch.collect()
    assert made.exists()
    os.utime(made, (1, 1))
    scratch.collect()
    assert not made.exists()


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(20)) + packer.flush()
    (tmp_path / "bomb.gz").write_bytes(bomb)
    with pytest.raises(ValueError, match="more than 16 MiB"):
        files.read(tmp_path / "bomb.gz", limit=2**24)
    with pytest.raises(ConvbenchError, match="no trace"), perfetto.server(tmp_path / "bomb.gz", 0):
        pass


def test_the_trace_server_answers_only_to_its_own_name(tmp_path):
    (tmp_path / "t.gz").write_bytes(gzip.compress(b'{"traceEvents": []}'))
    with perfetto.server(tmp_path / "t.gz", 0) as (server, _):
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        port = server.server_address[1]
        answers = []
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", "attacker.example", f"attacker.example:{port}"):
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/trace", headers={"Host": host})
            answers.append(connection.getresponse().status)
        server.shutdown()
    assert answers == [200, 200, 421, 421]


HOSTILE = "a\x1b[31m\x00\u202e|<b>`@x"


def test_ci_files_are_safe_with_any_name():
    side = SideOutcome(HOSTILE, None, False, {})
    outcome = Outcome(
        HOSTILE, side, side, (CaseOutcome(HOSTILE, invalid=HOSTILE),), Rule(), Settings(), HOSTILE, 1.0, "0", (HOSTILE,)
    )
    suite = ElementTree.fromstring(ci.junit(outcome))
    assert len(suite) == 1
    markdown = ci.markdown(outcome)
    assert not any(char in markdown for char in "\x1b\x00\u202e")
    assert "<b>" not in markdown
    assert "@x" not in markdown


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path):
    from dataclasses import replace

    case = replace(made.case(made.choice("=1+1")), variant=(made.choice("-x:make"),))
    failure = Failure("@SUM(1)", "x")
    record = replace(made.record(case), environment="\t=1+1", status="failed", failure=failure)
    with write_csv(tmp_path, [record, made.record(latency=0.1)]).open(newline="") as file:
        (hostile, plain) = csv.DictReader(file)
    assert {name: hostile[name] for name in ("reducer", "variant", "error", "environment")} == {
        "reducer": "'=1+1", "variant": "'-x:make", "error": "'@SUM(1): x", "environment": "'\t=1+1",
    }  # fmt: skip
    assert not [cell for row in (hostile, plain) for cell in row.values() if text.FORMULA.match(cell)]
    assert float(plain["latency_s_median"]) == pytest.approx(0.1, rel=0.01)
    assert [text.cell(value) for value in ("-1.5", "+x", "\rx", -1.5)] == ["-1.5", "'+x", "'\rx", -1.5]


@pytest.mark.parametrize(
    ("made_text", "expected"),
    [
        (text.cut("abcdef", 6), "abcdef"),
        (text.cut("abcdef", 5), "abcd…"),
        (text.cut_name("a:b", 3), "a:b"),
        (text.cut_name("pkg.net:build", 8), "…t:build"),
        (text.cut_name("…net/build", 6), "…build"),
        (text.cut_name("identity", 5), "iden…"),
        (text.counted(2000, "case"), "2,000 cases"),
        (text.counted(1, "entry", "entries"), "1 entry"),
        (text.counted(0, "entry", "entries"), "0 entries"),
        (text.counted("x", "case"), "x cases"),
        (text.first_lines(["a"] * 30), "\n".join("a" * 30)),
        (text.first_lines(["a"] * 32), "\n".join(["a"] * 30 + ["... and 2 more"])),
        (text.first_names("abc"), ["a", "b", "c"]),
        (text.first_names("abcd"), ["a", "b", "c", "1 more"]),
        (text.joined("abc"), "a, b and c"),
        (text.joined(""), "none"),
        (text.some(["a\n", *"bcde"]), "a�, b, c and 2 more"),
        (text.some_long("ab", 2), "a; b"),
        (text.some_long("abc", 2), "a; b and 1 more"),
        (text.inside("Params"), "params"),
        (text.inside("FLOPs"), "FLOPs"),
        (text.file_stem(f"(a b/{'c' * 50})"), f"a-b-{'c' * 36}"),
        (text.markdown("a|b\n<@c_de", 9), "a&#124;b &lt;&#64;c\\_…"),
    ],
)
def test_a_text_is_shortened_and_listed(made_text, expected):
    assert made_text == expected


def test_a_new_scratch_folder_collects_a_killed_processs_leftovers(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    script = (
        "import os, subprocess, sys, time\nfrom convbench.core.system import scratch\n"
        "with scratch.folder() as folder:\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True,"
        " stdout=subprocess.DEVNULL, env=os.environ | scratch.mark(folder))\n"
        "    print(folder, flush=True)\n    os.kill(os.getpid(), 9)\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    left = Path(done.stdout.strip())
    assert left.is_dir()
    assert len(list(scratch.processes(left))) == 1
    (tmp_path / "convbench-of-a-user").mkdir()
    with scratch.folder():
        assert not left.exists()
        assert not list(scratch.processes(left))
    assert [entry.name for entry in tmp_path.iterdir()] == ["convbench-of-a-user"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("run", "smoke", "--shard", "²/²"), 2, "write it as I/N"),
        (("selftest", "--minutes", "nan"), 2, "--minutes nan"),
        (("check", "smoke", "--base", "~nouser"), 2, "cannot be a path"),
        (("replay", "/dev/null"), 2, "not the JSON of a check"),
    ],
    ids=["shard", "minutes", "home", "replay"],
)
def test_invalid_arguments_exit_2_with_a_message(tmp_path, in_process, words, code, message):
    done = in_process(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr


def test_a_full_or_closed_output_loses_only_printed_text(tmp_path):
    command = [sys.executable, "-m", "convbench", "run", "smoke", "--executor", "fake", "--json", "-q", "--out", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(300) == 0
    assert (tmp_path / "out" / "index.html").is_file()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "convbench", "schema"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 74
    written = [sys.executable, "-m", "convbench", "report", "out", "--format", "md"]
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(written, cwd=tmp_path, env=ascii_only, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


STAYS = "threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()\n"
NOISY = f"""\
import argparse, logging, threading, time
options = argparse.ArgumentParser()
options.add_argument("--epochs", type=int, default=3)
options.parse_args()
print('{{"case": "not of convbench"}}')
logging.basicConfig(level=0)
{STAYS}from torch import nn
def build(how: str = "fine"):
    print("building")
    return nn.LSTM(3, 4, batch_first=True)
def inputs(clip):
    import torch
    return torch.zeros(clip.batch, clip.frames, 3)
"""


def test_a_users_module_affects_only_its_own_process(tmp_path, in_process):
    import json

    (tmp_path / "noisy.py").write_text(NOISY)
    (tmp_path / "suite.yaml").write_text(
        "matrix: {model: {name: 'noisy:build', inputs: 'noisy:inputs'}, clip: 1x2x3x4x4}\nmetrics: [params]\n"
    )
    done = convbench("run", "suite.yaml", "--json", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["params"] == 144
    assert list(store.load(tmp_path / "out")[1][0].code) == ["noisy"]
    (tmp_path / "noisy.py").write_text(NOISY.replace(STAYS, ""))  # without the thread, no process uses its 2 s to exit
    refused = in_process("run", "suite.yaml", "--out", "out", "--resume", cwd=tmp_path)
    assert refused.returncode == 2
    assert "noisy.py changed" in refused.stderr
    again = in_process("run", "suite.yaml", "--out", "out", "--resume=stale", "-q", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(store.load(tmp_path / "out")[1]) == 1


def test_an_unfinished_check_neither_fails_nor_passes():
    from dataclasses import replace

    from convbench.check.outcome import Timing
    from convbench.check.verdict import exit_code

    side = SideOutcome("main", "1" * 40, False, {})
    slower = tuple(Timing(tuple((1e-3, 1.5e-3) for _ in range(9))) for _ in range(20))
    again = tuple(Timing(tuple((1e-3, 1e-3, 1.5e-3) for _ in range(9))) for _ in range(20))
    outcome = Outcome("s", side, side, (CaseOutcome("a", slower, again),), Rule(), Settings(), "", 1.0, "0")
    assert exit_code(outcome) == 1
    assert exit_code(replace(outcome, unfinished=True)) == 3


def test_the_stored_results_of_another_check_are_refused():
    from dataclasses import replace

    from convbench.check.ledger import Ledger
    from convbench.core.errors import Refused

    side = SideOutcome("main", "1" * 40, False, {"cpu": "a"})
    before = Outcome("s", side, side, (), Rule(), Settings(), "", 1.0, "0", seed=0)
    Ledger(earlier_outcome=before).refuse_another(replace(before, seconds=2.0))
    Ledger(earlier_outcome=replace(before, seed=None)).refuse_another(before)  # an older file does not tell its seed
    Ledger(earlier_outcome=before).refuse_another(replace(before, settings=Settings(timeout=5.0)))  # it applies
    for now in (
        replace(before, suite="t"),
        replace(before, rule=Rule.detecting(0.05)),
        replace(before, head=replace(side, environment={"cpu": "a", "convbench": "1"})),
        replace(before, seed=1),
        replace(before, base=replace(side, build="make fast")),
        replace(before, cases=(CaseOutcome("a", (), ()),)),
        replace(before, head=replace(side, commit="2" * 40)),
        replace(before, base=replace(side, environment={"cpu": "b"})),
        replace(before, settings=Settings(threads=2)),
    ):
        with pytest.raises(Refused, match=r"not the same .* as before"):
            Ledger(earlier_outcome=before).refuse_another(now)
    untold = replace(before, base=replace(side, commit=None))
    changed = replace(before, head=replace(side, dirty=True))
    for earlier, now in ((untold, untold), (untold, before), (before, untold)):
        with pytest.raises(Refused, match="base is not a commit, so there is no telling"):
            Ledger(earlier_outcome=earlier).refuse_another(now)
    for earlier, now in ((before, changed), (changed, before)):
        with pytest.raises(Refused, match="head has uncommitted changes, so"):
            Ledger(earlier_outcome=earlier).refuse_another(now)
        assert Ledger(earlier_outcome=earlier, required=False).earlier_cases(now) == ()
    with pytest.raises(Refused, match=r"head has uncommitted changes \(a\.py\), so"):
        Ledger(earlier_outcome=before).refuse_another(changed, {"base": ["b.py"], "head": ["a.py"]})


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("./my-net.py:build", "my-net:build"),
        ("models/net.py:Net.make", "models.net:Net.make"),
        ("./a/./b.py:c", "a.b:c"),
        ("../net.py:build", "../net.py:build"),
        ("/tmp/net.py:build", "/tmp/net.py:build"),
        ("~/nets/net.py:build", "~/nets/net.py:build"),
        ("v1.2/net.py:build", "v1.2/net.py:build"),
        ("pkg.net:build", "pkg.net:build"),
        (".py:x", ".py:x"),
        ("", ""),
    ],
)
def test_a_model_named_by_file_is_imported_as_a_module(written, path):
    assert imports.of_file(written) == path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trace", "9" * 5000], "File name too long"),
        (["push", "x" * 5000, "shared"], "File name too long"),
        (["trace", "a\0b"], "no profile of"),
    ],
    ids=["trace", "push", "null"],
)
def test_an_impossible_path_is_refused_in_one_message(tmp_path, in_process, words, message):
    done = in_process(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
