"""Runs shared through a folder or what fsspec opens: whole or not at all, never over another's, by several at once."""

from __future__ import annotations

import multiprocessing
import uuid
from pathlib import Path

import invented_runs as invented
import pytest
from invented_runs import GAP
from typer.testing import CliRunner

from convbench.cli import app
from convbench.core import exchange, files, lock, shared_place, store
from convbench.core.errors import ConvbenchError, StoreError


@pytest.fixture(scope="module")
def bucket():
    """The URL of a bucket on an S3 server of this process."""
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
    """A shared place that is empty: a folder, the same as a URL, an object store in memory, and a bucket."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return f"memory://{uuid.uuid4().hex}/perf"
    return f"file://{tmp_path / 'shared'}" if request.param == "file" else str(tmp_path / "shared")


def contents(folder: Path) -> set[bytes]:
    return {path.read_bytes() for name in shared_place.FILES for path in folder.rglob(name)}


def test_what_is_pushed_and_pulled_is_the_same(tmp_path, place):
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


def test_a_single_run_is_pushed_and_what_one_has_is_not_pulled_again(tmp_path, place):
    mine = invented.many(tmp_path / "mine", count=2)
    assert exchange.push(mine / "run000", place).runs == 1
    assert exchange.pull(place, mine) == (0, 0, 1, ())
    assert len(list(mine.iterdir())) == 2


def test_a_run_that_grew_is_another_and_overwrites_nothing(tmp_path, place):
    run = invented.write(tmp_path / "mine" / "a", 0, {GAP: 1e-3})
    exchange.push(run, place)
    store.append(run, store.load(run)[1][0])
    exchange.push(run, place)
    assert len(shared_place.open_place(place).names()) == 2


def test_half_of_a_run_is_none(tmp_path, place):
    run = invented.write(tmp_path / "mine" / "a", 0, {GAP: 1e-3})
    shared = shared_place.open_place(place)
    shared.write("half", {store.RESULTS: b"{}\n"})
    assert shared.names() == set()
    (run / store.RESULTS).unlink()
    assert exchange.push(tmp_path / "mine", place).passed_over == (f"{run}: it has no results yet",)


def test_a_run_of_another_content_is_another_whatever_its_folder_is_called(tmp_path):
    theirs, mine = invented.many(tmp_path / "theirs", count=2), tmp_path / "mine"
    invented.write(mine / "run000", 9, {GAP: 2e-3})
    assert exchange.pull(str(theirs), mine) == (2, 0, 0, ())
    assert exchange.pull(str(theirs), mine) == (0, 0, 2, ())
    assert contents(theirs) < contents(mine)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_run_that_is_not_there_whole_yet_is_pulled_when_it_is(tmp_path, by_hand):
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


def test_keys_that_lead_out_of_a_store_or_are_none_of_ours_are_passed_over():
    ours = ["confirmed/a.json", "a/run.json", "a/b/run.json"]
    others = ["confirmed/../../x.json", "confirmed/README.txt", "confirmed/a/b.json", "confirmed/.b.json"]
    others += ["../run.json", "./run.json", ".part/run.json", "run.json", "a\\b/run.json", "a/../b/run.json"]
    others += ["a//run.json", "/a/run.json", "a/.b/run.json"]
    assert shared_place.names_in([*ours, *others]) == {"confirmed/a.json", "a", "a/b"}


def test_a_run_that_is_being_measured_is_passed_over(tmp_path):
    run = invented.write(tmp_path / "mine" / "a", 0, {GAP: 1e-3})
    with lock.hold(run / store.LOCK):
        moved = exchange.push(run, str(tmp_path / "shared"))
    assert (moved.runs, moved.passed_over) == (0, (f"{run}: it is being measured: push it again when it has finished",))


def test_a_run_that_is_being_measured_is_pulled_when_that_has_ended(tmp_path):
    run = invented.write(tmp_path / "theirs" / "night", 0, {GAP: 1e-3})
    with lock.hold(run / store.LOCK):
        moved = exchange.pull(str(tmp_path / "theirs"), tmp_path / "mine")
    assert moved == (0, 0, 0, ("night: it is being measured: pull it again when it has finished",))
    assert exchange.pull(str(tmp_path / "theirs"), tmp_path / "mine") == (1, 0, 0, ())


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file")])
def test_what_cannot_be_read_does_not_keep_back_the_others(tmp_path, monkeypatch, error):
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


def test_what_a_killed_writer_left_is_no_run_and_the_next_one_makes_it_whole(tmp_path, monkeypatch):
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


def test_two_who_push_at_once_leave_every_run_whole(tmp_path):
    mine, place = invented.many(tmp_path / "mine", count=12), tmp_path / "shared"
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    processes = [context.Process(target=_push, args=(mine, str(place), barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
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
def test_a_place_that_cannot_be_used_is_one_sentence(tmp_path, where, message):
    mine = invented.many(tmp_path / "mine", count=1)
    with pytest.raises(ConvbenchError) as error:
        exchange.push(mine, where)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("where", ["folder", "memory", "bucket"])
def test_nothing_is_pulled_from_a_place_that_is_not_there(tmp_path, request, where):
    """A folder that is not mounted is no empty one: what comes next would go on with old runs."""
    if where == "memory":
        pytest.importorskip("fsspec")
    if where == "bucket":
        request.getfixturevalue("bucket")
    place = {"folder": str(tmp_path / "pref"), "memory": "memory://pref/x", "bucket": "s3://teem/perf"}[where]
    with pytest.raises(StoreError, match=f"^{place}: there is no such place: name one that runs were pushed to$"):
        exchange.pull(place, tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    assert exchange.pull(str(tmp_path / "empty"), tmp_path / "mine") == (0, 0, 0, ())


def test_a_place_without_a_name_is_a_variable_that_is_not_set(tmp_path, in_process):
    """The run was copied into the working directory, and CI was green."""
    mine = invented.many(tmp_path / "mine", count=1)
    for words in (("push", str(mine), ""), ("push", "", str(mine)), ("pull", "", "mine"), ("pull", str(mine), " ")):
        done = in_process(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "is empty: name a file or a directory" in done.stderr
    for words in (("",), ("--store", "")):
        assert "is empty: name a file or a directory" in in_process("history", *words, cwd=tmp_path).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_run_that_was_half_synchronised_is_made_whole_by_the_next_push(tmp_path):
    mine, shared = invented.many(tmp_path / "mine", count=1), tmp_path / "shared"
    exchange.push(mine, str(shared))
    (run,) = shared.iterdir()
    for damage in (lambda file: file.write_bytes(file.read_bytes()[:-9]), Path.unlink):
        damage(run / store.RESULTS)
        assert exchange.push(mine, str(shared)) == (1, 0, 0, ())
        assert exchange.push(mine, str(shared)) == (0, 0, 1, ())
    assert contents(shared) == contents(mine)


def test_what_a_killed_writer_left_of_a_file_behind_a_url_is_made_whole_by_the_next_push(tmp_path):
    """It was said to be there already, and no pull took it."""
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


def test_a_run_that_was_half_synchronised_is_made_whole_by_the_next_pull(tmp_path, place):
    """And one that was gone on with since stays as it is."""
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


def test_the_part_of_a_run_or_confirmation_that_was_synchronised_is_made_whole(tmp_path, place):
    """Whoever has the part: it was taken for all of it wherever a first record was there."""
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


def test_a_part_of_a_confirmation_is_made_whole_by_the_next_push_and_is_not_pulled_before(tmp_path):
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


def test_a_shared_run_that_was_gone_on_with_in_its_place_is_not_pushed_over(tmp_path):
    mine, shared = invented.many(tmp_path / "mine", count=1), tmp_path / "shared"
    exchange.push(mine, str(shared))
    (run,) = shared.iterdir()
    store.append(run, store.load(run)[1][0])
    longer = (run / store.RESULTS).read_bytes()
    assert exchange.push(mine, str(shared)) == (0, 0, 1, ())
    assert (run / store.RESULTS).read_bytes() == longer


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_runs_that_were_put_deeper_into_a_place_are_pulled(tmp_path, kind):
    """They were passed over without a word, and the exit code was 0."""
    theirs = invented.many(tmp_path / "theirs" / "2026" / "november", count=2).parents[1]
    place = str(theirs)
    if kind == "memory":
        system = pytest.importorskip("fsspec").filesystem("memory")
        place = f"memory://{uuid.uuid4().hex}"
        system.put(f"{theirs}/", place, recursive=True)
    assert exchange.pull(place, tmp_path / "mine") == (2, 0, 0, ())
    assert exchange.pull(place, tmp_path / "mine") == (0, 0, 2, ())
    assert contents(tmp_path / "mine") == contents(theirs)


def test_a_run_is_no_place_to_pull_from(tmp_path, place):
    exchange.push(invented.many(tmp_path / "theirs", count=1), place)
    (name,) = shared_place.open_place(place).names()
    with pytest.raises(StoreError, match=f"{name}: it is a run itself: name the folder that it lies in"):
        exchange.pull(f"{place}/{name}", tmp_path / "mine")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    def lacks(name: str):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(shared_place.importlib, "import_module", lacks)
    with pytest.raises(ConvbenchError, match=r"it needs the extra convbench\[remote\] \(Install s3fs to access S3\)"):
        exchange.pull("s3://bucket/perf", tmp_path)


def test_a_bucket_mistyped_is_said_and_not_made(tmp_path, bucket):
    with pytest.raises(StoreError, match=r"^s3://teem/perf: cannot be used .*bucket does not exist.* another place$"):
        exchange.push(invented.many(tmp_path / "mine", count=1), "s3://teem/perf")
    assert not shared_place.open_place(bucket).system.exists("teem")


def test_the_verbs_say_what_they_did(tmp_path):
    mine, place = invented.many(tmp_path / "mine", count=2), str(tmp_path / "shared")
    pushed = CliRunner().invoke(app, ["push", str(mine), place])
    assert pushed.output == f"2 runs copied to {place}, 0 there already\n"
    pulled = CliRunner().invoke(app, ["pull", place, str(tmp_path / "theirs")])
    assert pulled.output == f"2 runs copied to {tmp_path / 'theirs'}, 0 there already\n"
    with pytest.raises(StoreError, match="there is no such folder"):
        exchange.push(tmp_path / "not", place)


def test_what_was_named_and_not_copied_is_a_mistake(tmp_path, in_process):
    """A run of several that cannot be read keeps back none of the others."""
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
