"""Share runs through a folder or fsspec: complete or not at all, never overwriting another's, several at once."""

from __future__ import annotations

import uuid
from pathlib import Path

import forked
import invented_runs as invented
import pytest
from invented_runs import GAP
from typer.testing import CliRunner

from convbench.cli import app
from convbench.core.errors import ConvbenchError, StoreError
from convbench.core.storage import exchange, shared_place, store
from convbench.core.system import files, lock


@pytest.fixture(scope="module")
def bucket():
    """URL of a bucket on an S3 server in this process."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(f"AWS_{name}", value)
        pytest.importorskip("s3fs").S3FileSystem().mkdir("team")
        yield "s3://team"
    server.stop()


@pytest.fixture(params=["folder", "file", "memory", "s3"])
def place(request, tmp_path):
    """An empty shared place: a folder, the same as a URL, an in-memory object store, and a bucket."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return f"memory://{uuid.uuid4().hex}/perf"
    return f"file://{tmp_path / 'shared'}" if request.param == "file" else str(tmp_path / "shared")


def contents(folder: Path) -> set[bytes]:
    return {path.read_bytes() for name in shared_place.FILES for path in folder.rglob(name)}


def test_runs_are_unchanged_by_push_and_pull(tmp_path, place):
    mine = invented.many(tmp_path / "mine", count=5)
    (mine / "confirmed").mkdir()
    (mine / "confirmed" / "a-b.json").write_text("{}")
    assert exchange.push(mine, place) == (5, 1, 0, ())
    assert exchange.push(mine, place) == (0, 0, 6, ())
    assert exchange.pull(place, tmp_path / "theirs") == (5, 1, 0, ())
    assert exchange.pull(place, tmp_path / "theirs") == (0, 0, 6, ())
    assert contents(tmp_path / "theirs") == contents(mine)
    assert (tmp_path / "theirs" / "confirmed" / "a-b.json").read_text() == "{}"
    assert not list((tmp_path / "theirs").glob(".*"))


def test_a_single_run_is_pushed_and_never_pulled_back(tmp_path, place):
    mine = invented.many(tmp_path / "mine", count=2)
    assert exchange.push(mine / "run000", place).runs == 1
    assert exchange.pull(place, mine) == (0, 0, 1, ())
    assert len(list(mine.iterdir())) == 2


def test_a_run_that_grew_is_pushed_beside_the_old(tmp_path, place):
    run = invented.write(tmp_path / "mine" / "a", 0, {GAP: 1e-3})
    exchange.push(run, place)
    store.append(run, store.load(run)[1][0])
    exchange.push(run, place)
    assert len(shared_place.open_place(place).names()) == 2


def test_an_incomplete_run_does_not_count(tmp_path, place):
    run = invented.write(tmp_path / "mine" / "a", 0, {GAP: 1e-3})
    shared = shared_place.open_place(place)
    shared.write("half", {store.RESULTS: b"{}\n"})
    assert shared.names() == set()
    (run / store.RESULTS).unlink()
    assert exchange.push(tmp_path / "mine", place).passed_over == (f"{run}: it has no results yet",)


def test_runs_are_distinguish_by_content_not_folder_name(tmp_path):
    theirs, mine = invented.many(tmp_path / "theirs", count=2), tmp_path / "mine"
    invented.write(mine / "run000", 9, {GAP: 2e-3})
    assert exchange.pull(str(theirs), mine) == (2, 0, 0, ())
    assert exchange.pull(str(theirs), mine) == (0, 0, 2, ())
    assert contents(theirs) < contents(mine)


@pytest.mark.parametrize("by_hand", [False, True])
def test_an_incomplete_run_is_pulled_once_complete(tmp_path, by_hand):
    exchange.push(invented.many(tmp_path / "theirs", count=1), str(tmp_path / "shared"))
    (run,) = (tmp_path / "shared").iterdir()
    run = run.rename(run.with_name("night")) if by_hand else run
    results = (run / store.RESULTS).read_bytes()
    (run / store.RESULTS).unlink()
    moved = exchange.pull(str(tmp_path / "shared"), tmp_path / "mine")
    assert moved[:3] == (0, 0, 0)
    assert moved.passed_over == (f"{run.name}: it is not complete yet, or was changed since it was pushed",)
    (run / store.RESULTS).write_bytes(results)
    assert exchange.pull(str(tmp_path / "shared"), tmp_path / "mine") == (1, 0, 0, ())


def test_foreign_or_escaping_keys_are_passed_over():
    ours = ["confirmed/a.json", "a/run.json", "a/b/run.json"]
    others = ["confirmed/../../x.json", "confirmed/README.txt", "confirmed/a/b.json", "confirmed/.b.json"]
    others += ["../run.json", "./run.json", ".part/run.json", "run.json", "a\\b/run.json", "a/../b/run.json"]
    others += ["a//run.json", "/a/run.json", "a/.b/run.json"]
    assert shared_place.names_in([*ours, *others]) == {"confirmed/a.json", "a", "a/b"}


def test_push_passes_over_a_run_being_measured(tmp_path):
    run = invented.write(tmp_path / "mine" / "a", 0, {GAP: 1e-3})
    with lock.hold(run / store.LOCK):
        moved = exchange.push(run, str(tmp_path / "shared"))
    assert (moved.runs, moved.passed_over) == (0, (f"{run}: it is being measured: push it again when it has finished",))


def test_a_run_being_measured_is_pulled_after_it_ends(tmp_path):
    run = invented.write(tmp_path / "theirs" / "night", 0, {GAP: 1e-3})
    with lock.hold(run / store.LOCK):
        moved = exchange.pull(str(tmp_path / "theirs"), tmp_path / "mine")
    assert moved == (0, 0, 0, ("night: it is being measured: pull it again when it has finished",))
    assert exchange.pull(str(tmp_path / "theirs"), tmp_path / "mine") == (1, 0, 0, ())


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file")])
def test_an_unreadable_run_does_not_block_the_others(tmp_path, monkeypatch, error):
    exchange.push(invented.many(tmp_path / "theirs", count=3), str(tmp_path / "shared"))
    first = min(path.name for path in (tmp_path / "shared").iterdir())
    read = shared_place.Folder.read

    def refused(place, name):
        if name == first:
            raise error
        return read(place, name)

    monkeypatch.setattr(shared_place.Folder, "read", refused)
    moved = exchange.pull(str(tmp_path / "shared"), tmp_path / "mine")
    assert moved == (2, 0, 0, (f"{first}: it cannot be read ({error})",))


def test_the_next_push_completes_a_killed_writers_run(tmp_path, monkeypatch):
    mine, shared = invented.many(tmp_path / "mine", count=1), tmp_path / "shared"
    write = files.write

    def killed(path: Path, *content):
        if path.name == store.RUN:
            raise KeyboardInterrupt
        write(path, *content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "write", killed)
        exchange.push(mine, str(shared))
    assert len(list(shared.rglob(store.RESULTS))) == 1
    assert shared_place.open_place(str(shared)).names() == set()
    assert exchange.push(mine, str(shared)).runs == 1
    assert contents(shared) == contents(mine)


def _push(folder: Path, place: str, barrier) -> None:
    barrier.wait()
    exchange.push(folder, place)


def test_concurrent_pushes_leave_every_run_complete(tmp_path):
    mine, place = invented.many(tmp_path / "mine", count=12), tmp_path / "shared"
    assert forked.at_once(_push, mine, str(place)) == [0, 0, 0]
    assert contents(place) == contents(mine)
    assert len(shared_place.open_place(str(place)).names()) == 12
    assert not list(place.glob(".*"))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nowhere://bucket/x", "nowhere://bucket/x: not a place that fsspec knows"),
        ("/dev/null/x", "/dev/null/x"),
        ("ftp://localhost:1/x", "ftp://localhost:1/x: cannot be used"),
    ],
)
def test_an_unusable_place_is_reported_in_one_sentence(tmp_path, where, message):
    mine = invented.many(tmp_path / "mine", count=1)
    with pytest.raises(ConvbenchError) as error:
        exchange.push(mine, where)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("where", ["folder", "memory", "bucket"])
def test_pulling_from_a_missing_place_is_an_error(tmp_path, request, where):
    """An unmounted folder is not an empty one: later steps would continue with old runs."""
    if where == "memory":
        pytest.importorskip("fsspec")
    if where == "bucket":
        request.getfixturevalue("bucket")
    place = {"folder": str(tmp_path / "pref"), "memory": "memory://pref/x", "bucket": "s3://teem/perf"}[where]
    with pytest.raises(StoreError, match=f"^{place}: there is no such place: name one that runs were pushed to$"):
        exchange.pull(place, tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    assert exchange.pull(str(tmp_path / "empty"), tmp_path / "mine") == (0, 0, 0, ())


def test_an_empty_place_name_is_refused(tmp_path, in_process):
    """With an unset variable as the place, the run was copied into the working directory and CI passed."""
    mine = invented.many(tmp_path / "mine", count=1)
    for words in (("push", str(mine), ""), ("push", "", str(mine)), ("pull", "", "mine"), ("pull", str(mine), " ")):
        done = in_process(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "is empty: name a file or a directory" in done.stderr
    for words in (("",), ("--store", "")):
        assert "is empty: name a file or a directory" in in_process("history", *words, cwd=tmp_path).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_next_push_completes_a_half_synchronised_run(tmp_path):
    mine, shared = invented.many(tmp_path / "mine", count=1), tmp_path / "shared"
    exchange.push(mine, str(shared))
    (run,) = shared.iterdir()
    for damage in (lambda file: file.write_bytes(file.read_bytes()[:-9]), Path.unlink):
        damage(run / store.RESULTS)
        assert exchange.push(mine, str(shared)) == (1, 0, 0, ())
        assert exchange.push(mine, str(shared)) == (0, 0, 1, ())
    assert contents(shared) == contents(mine)


def test_the_next_push_completes_a_partial_file_behind_a_url(tmp_path):
    """The partial file of a killed writer was reported as present, but no pull accepted it."""
    fsspec = pytest.importorskip("fsspec")
    mine, place = invented.many(tmp_path / "mine", count=2), f"memory://{uuid.uuid4().hex}"
    exchange.push(mine, place)
    system = fsspec.filesystem("memory")
    half, longer = sorted(path for path in system.find(place.removeprefix("memory:/")) if path.endswith(store.RUN))
    whole = system.cat_file(half)
    system.pipe_file(half, whole[:-9])
    system.pipe_file(longer, system.cat_file(longer) + b" ")
    assert exchange.push(mine, place) == (1, 0, 1, ())
    assert exchange.push(mine, place) == (0, 0, 2, ())
    assert system.cat_file(half) == whole
    assert system.cat_file(longer).endswith(b" ")


def test_the_next_pull_completes_a_half_synchronised_run(tmp_path, place):
    """A run that has been continued since stays unchanged."""
    theirs, mine = invented.many(tmp_path / "theirs", count=2), tmp_path / "mine"
    exchange.push(theirs, place)
    exchange.pull(place, mine)
    half, longer = mine.iterdir()
    (half / store.RESULTS).unlink()
    store.append(longer, store.load(longer)[1][0])
    before = (longer / store.RESULTS).read_bytes()
    assert exchange.pull(place, mine) == (1, 0, 1, ())
    assert exchange.pull(place, mine) == (0, 0, 2, ())
    assert (half / store.RESULTS).read_bytes() in contents(theirs)
    assert (longer / store.RESULTS).read_bytes() == before


def test_a_partly_synchronised_run_or_confirmation_is_completed(tmp_path, place):
    """A partial copy with a first record was taken for complete."""
    theirs, mine = invented.many(tmp_path / "theirs", count=1), tmp_path / "mine"
    (theirs / "confirmed").mkdir()
    (theirs / "confirmed" / "a-b.json").write_text("{}\n")
    exchange.push(theirs, place)
    exchange.pull(place, mine)
    (run,) = mine.glob("*/run.json")
    for file in (run, run.with_name(store.RESULTS), mine / "confirmed" / "a-b.json"):
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        copied = (1, 0) if file.parent == run.parent else (0, 1)
        assert exchange.pull(place, mine)[:2] == copied
        assert file.read_bytes() == whole
    assert exchange.pull(place, mine) == (0, 0, 2, ())


def test_a_partial_confirmation_is_pulled_only_after_completion(tmp_path):
    mine, shared = invented.many(tmp_path / "mine", count=1), tmp_path / "shared"
    for folder, text in ((mine, "{}\n"), (shared, "{")):
        (folder / "confirmed").mkdir(parents=True)
        (folder / "confirmed" / "a-b.json").write_text(text)
    reason = "confirmed/a-b.json: it is not complete yet, or was changed since it was pushed"
    assert exchange.pull(str(shared), tmp_path / "theirs").passed_over == (reason,)
    assert exchange.push(shared, str(tmp_path / "other")).passed_over == (f"{shared}/{reason}",)
    assert exchange.push(mine, str(shared)) == (1, 1, 0, ())
    assert exchange.push(mine, str(shared)) == (0, 0, 2, ())
    assert exchange.pull(str(shared), tmp_path / "theirs") == (1, 1, 0, ())


def test_a_confirmation_that_cannot_be_read_does_not_block_the_others(tmp_path, monkeypatch):
    """One of another user, or a folder of such a name, ended the push."""
    mine, shared = invented.many(tmp_path / "mine", count=1), tmp_path / "shared"
    (mine / "confirmed" / "a.json").mkdir(parents=True)
    for name in ("b", "c"):
        (mine / "confirmed" / f"{name}.json").write_text("{}")
    error, read = PermissionError(13, "Permission denied"), shared_place.Folder.read

    def refused(place, name):
        if name == "confirmed/b.json":
            raise error
        return read(place, name)

    monkeypatch.setattr(shared_place.Folder, "read", refused)
    omissions = (f"{mine}/confirmed/a.json: it is gone", f"{mine}/confirmed/b.json: it cannot be read ({error})")
    assert exchange.push(mine, str(shared)) == (1, 1, 0, omissions)


def test_push_does_not_overwrite_a_continued_shared_run(tmp_path):
    mine, shared = invented.many(tmp_path / "mine", count=1), tmp_path / "shared"
    exchange.push(mine, str(shared))
    (run,) = shared.iterdir()
    store.append(run, store.load(run)[1][0])
    longer = (run / store.RESULTS).read_bytes()
    assert exchange.push(mine, str(shared)) == (0, 0, 1, ())
    assert (run / store.RESULTS).read_bytes() == longer


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_runs_in_subfolders_of_a_place_are_pulled(tmp_path, kind):
    """They were skipped silently, with exit code 0."""
    theirs = invented.many(tmp_path / "theirs" / "2026" / "november", count=2).parents[1]
    place = str(theirs)
    if kind == "memory":
        system = pytest.importorskip("fsspec").filesystem("memory")
        place = f"memory://{uuid.uuid4().hex}"
        system.put(f"{theirs}/", place, recursive=True)
    assert exchange.pull(place, tmp_path / "mine") == (2, 0, 0, ())
    assert exchange.pull(place, tmp_path / "mine") == (0, 0, 2, ())
    assert contents(tmp_path / "mine") == contents(theirs)


def test_pulling_from_a_run_itself_is_refused(tmp_path, place):
    exchange.push(invented.many(tmp_path / "theirs", count=1), place)
    (name,) = shared_place.open_place(place).names()
    with pytest.raises(StoreError, match=f"{name}: it is a run itself: name the folder that it lies in"):
        exchange.pull(f"{place}/{name}", tmp_path / "mine")


def test_a_missing_fsspec_backend_names_the_extra(tmp_path, monkeypatch):
    def lacks(name: str):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(shared_place.importlib, "import_module", lacks)
    with pytest.raises(ConvbenchError, match=r"it needs the extra convbench\[remote\] \(Install s3fs to access S3\)"):
        exchange.pull("s3://bucket/perf", tmp_path)


def test_a_mistyped_bucket_is_reported_and_not_created(tmp_path, bucket):
    with pytest.raises(StoreError, match=r"^s3://teem/perf: cannot be used .*bucket does not exist.* another place$"):
        exchange.push(invented.many(tmp_path / "mine", count=1), "s3://teem/perf")
    assert not shared_place.open_place(bucket).system.exists("teem")


def test_push_and_pull_report_their_counts(tmp_path):
    mine, place = invented.many(tmp_path / "mine", count=2), str(tmp_path / "shared")
    pushed = CliRunner().invoke(app, ["push", str(mine), place])
    assert pushed.output == f"2 runs copied to {place}, 0 there already\n"
    pulled = CliRunner().invoke(app, ["pull", place, str(tmp_path / "theirs")])
    assert pulled.output == f"2 runs copied to {tmp_path / 'theirs'}, 0 there already\n"
    with pytest.raises(StoreError, match="there is no such folder"):
        exchange.push(tmp_path / "not", place)


def test_a_named_run_that_is_not_copied_is_an_error(tmp_path, in_process):
    """One unreadable run of several does not block the others."""
    mine, place = invented.many(tmp_path / "mine", count=2), str(tmp_path / "shared")
    damaged = mine / "run000"
    (damaged / store.RUN).write_text("{")
    single = in_process("push", str(damaged), place, cwd=tmp_path)
    assert single.returncode == 2
    assert single.stderr.startswith(f"passed over: {damaged}: {damaged / store.RUN}: not written by convbench")
    assert single.stdout == f"0 runs copied to {place}, 0 there already\n"
    assert in_process("push", str(mine), place, cwd=tmp_path).returncode == 0
    (tmp_path / "empty").mkdir()
    empty = in_process("push", str(tmp_path / "empty"), place, cwd=tmp_path)
    assert empty.returncode == 2
    assert "empty: there is no run: `convbench run` writes one" in empty.stderr
    (run,) = Path(place).iterdir()
    (run / store.RESULTS).unlink()
    assert in_process("pull", place, "theirs", cwd=tmp_path).returncode == 2
    assert in_process("pull", str(tmp_path / "empty"), "theirs", cwd=tmp_path).returncode == 0
