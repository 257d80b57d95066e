"""Test traces: how they are taken, limited, read, summarised and served, and how failures are reported."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from convbench.core.errors import ConvbenchError
from convbench.core.record import Case, Choice, Clip, Finding, Parts, Protocol, Reading
from convbench.core.storage import profiles
from convbench.core.system import files
from convbench.measure import harness
from convbench.measure.comparison import first_call
from convbench.measure.stages.spans import Spans
from convbench.measure.traces import capture, trace
from convbench.measure.traces.operators import operators
from convbench.models.subject import assemble
from convbench.report.page import figure, profile_section
from convbench.report.page import template as template_of
from convbench.report.viewers import perfetto
from convbench.report.viewers import tensorboard as viewer
from convbench.report.viewers.loopback import free_port

SMALL = Clip(1, 2, 3, 8, 8)
EAGER = Case(Parts(Choice("conv"), Choice("fc"), 32), SMALL)
TRAIN = Case(Parts(Choice("conv"), Choice("fc"), 32), SMALL, scenario="train")
HOSTILE = "</script><img src=x onerror=alert(1)>"


def profiled(case: Case, run: Path) -> list[Reading | Finding]:
    subject, _ = first_call.open_case(case, seed=0)
    subject.run()
    return list(capture.Capture(run / profiles.PROFILES)(subject, Protocol()))


@pytest.fixture(scope="module")
def profiled_run(tmp_path_factory) -> tuple[Path, dict[str, list[Reading | Finding]]]:
    """Return a run's folder with profiles of two cases, and the readings and findings of each case."""
    directory = tmp_path_factory.mktemp("run")
    return directory, {case.id: profiled(case, directory) for case in (EAGER, TRAIN)}


@pytest.fixture(scope="module")
def run(profiled_run) -> Path:
    directory, results = profiled_run
    assert not [result for result in chain(*results.values()) if isinstance(result, Finding)]
    return directory


def place(run: Path, case: Case) -> profiles.Profile:
    (profile,) = (entry for entry in profiles.profiles_of(run) if entry.case == case.id)
    return profile


def names(run: Path, case: Case) -> list[str]:
    return [event.name for event in trace.events(trace.read(place(run, case).trace))]


def test_a_trace_has_the_name_that_viewers_expect(run):
    path = place(run, EAGER).trace
    worker, nanoseconds, rest = path.name.split(".", 2)
    assert (worker, rest) == ("cpu", "pt.trace.json.gz")
    assert nanoseconds.isdigit()
    assert path.parent.parent == run / "profiles"


def test_a_trace_holds_ten_steps_the_stages_and_the_modules(run):
    event_names = names(run, EAGER)
    for name in ("convbench::forward", "convbench::backbone", "convbench::reducer", "convbench::lstm"):
        assert event_names.count(name) == 10
    assert len({name for name in event_names if name.startswith("ProfilerStep#")}) == 10
    assert {"aten::convolution", "aten::lstm", "nn.Module: Conv2d_0", "nn.Module: LSTM_0"} <= set(event_names)


def test_a_training_trace_has_the_stages_backward_passes(run):
    event_names = names(run, TRAIN)
    for name in ("convbench::backward", "convbench::lstm backward", "convbench::backbone backward"):
        assert event_names.count(name) == 10
    assert event_names.count("convbench::optimizer") == 20


def test_a_trace_names_no_file_or_host(run):
    text = gzip.decompress(place(run, TRAIN).trace.read_bytes()).decode()
    assert str(Path(torch.__file__).parent.parent) not in text
    assert str(Path(__file__).parent.parent) not in text
    assert "host_name" not in text
    assert ".py(" not in text


def test_a_traces_size_stays_within_its_estimate(run, profiled_run):
    sizes = {result.metric.name: result.samples[0] for result in profiled_run[1][EAGER.id]}
    assert sizes["trace_steps"] == 10
    assert sizes["trace_bytes"] == place(run, EAGER).trace.stat().st_size < 1_000_000
    assert sizes["trace_bytes"] <= sizes["trace_bytes_expected"]
    assert len(list(profiles.profiles_of(run))) == 2


def test_the_sums_of_a_summary_are_consistent(run):
    summary = profiles.summary(place(run, TRAIN).directory)
    assert summary["steps"] == len(summary["step_s"]) == 10
    by_name = {(row["name"], row["phase"]): row for row in summary["operators"]}
    assert by_name["aten::convolution", "forward"]["stage"] == "backbone"
    assert by_name["aten::convolution", "forward"]["calls"] == 10
    assert by_name["aten::mkldnn_rnn_layer_backward", "backward"]["stage"] == "lstm"
    assert all(row["self_s"] <= row["total_s"] + 1e-9 for row in summary["operators"])
    assert sum(row["self_s"] for row in summary["operators"]) <= sum(summary["step_s"])
    memory = summary["memory"]
    assert sum(size for _, _, size in memory["at_peak"]) == memory["peak_bytes"]
    assert max(size for _, size in memory["timeline"]) == memory["peak_bytes"]


def test_a_new_profile_replaces_the_old_profile(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    first = place(copy, EAGER).trace
    profiled(EAGER, copy)
    assert not first.exists()
    assert place(copy, EAGER).trace.exists()


def test_a_trace_of_long_calls_has_fewer_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "SECONDS", 0.0)
    results = profiled(EAGER, tmp_path)
    (note,) = (result for result in results if isinstance(result, Finding))
    assert (note.code, note.level, note.data["steps"], note.data["wanted"]) == ("trace_bounded", "note", 1, 10)
    assert names(tmp_path, EAGER).count("convbench::forward") == 1


def test_a_trace_that_is_too_large_is_not_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "BYTES", 1000)
    (finding,) = profiled(EAGER, tmp_path)
    assert finding.code == "not_profiled"
    assert "MB gzipped, more than" in finding.data["reason"]
    assert not list(profiles.profiles_of(tmp_path))
    assert not list(tmp_path.rglob("*.gz"))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUPTI: insufficient privileges"), PermissionError(13, "denied"), KeyError("Python id")],
    ids=lambda error: type(error).__name__,
)
def test_a_failed_profile_is_a_finding_on_the_record(tmp_path, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(capture, "_trace", refuse)
    record = harness.measure(EAGER, Protocol(), ["params"], [capture.Capture(tmp_path)])
    assert record.status == "ok"
    assert record.samples("params")
    (finding,) = (item for item in record.findings if item.code == "not_profiled")
    assert str(error) in finding.data["reason"]


def test_a_model_in_another_runtime_is_not_profiled(tmp_path):
    """It used to have a profile of ten microseconds in ``aten::detach``, with its inputs' bytes as its peak."""
    elsewhere = SimpleNamespace(runtime=SimpleNamespace(name="shop"))
    subject = replace(assemble(EAGER, 0), deployment=elsewhere)
    (finding,) = capture.Capture(tmp_path)(subject, Protocol())
    assert (finding.code, finding.level, list(tmp_path.iterdir())) == ("not_profiled", "note", [])
    assert finding.data["reason"] == "shop runs the model, and torch's profiler sees nothing of it"


def test_a_trace_without_steps_is_a_finding_without_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "_step_seconds", lambda _recording: [])
    (finding,) = profiled(EAGER, tmp_path)
    assert (finding.code, finding.data["reason"]) == ("not_profiled", "IndexError: list index out of range")
    assert not list(tmp_path.rglob("*.gz"))


def event(name, begin, end, category=trace.OPERATOR, **args):
    return trace.TraceEvent(name, category, begin, end, (1, 1), args)


def test_operator_times_match_closed_forms():
    events = [
        event("outer", 0, 100),
        event("inner", 10, 40, **{"External id": 7}),
        event("[memory]", 20, 20, trace.MEMORY, Bytes=64),
        event("inner", 50, 60),
        event("[memory]", 70, 70, trace.MEMORY, Bytes=-16),
        event("kernel", 500, 525, "kernel", **{"External id": 7}),
        event("outer", 200, 230),
    ]
    spans = Spans([("convbench::forward", 0, 150), ("convbench::lstm", 0, 150)])
    rows = {(row.name, row.stage): row for row in operators(events, spans)}
    outer, inner = rows["outer", "lstm"], rows["inner", "lstm"]
    assert (outer.calls, outer.self_bytes) == (1, -16)
    assert (outer.self_s, outer.total_s) == pytest.approx((60e-6, 1e-4))
    assert (inner.calls, inner.self_bytes) == (2, 64)
    assert inner.self_s == inner.total_s == pytest.approx(40e-6)
    assert inner.device_s == pytest.approx(25e-6)
    assert rows["outer", "other"].calls == 1


def test_an_operator_inside_itself_counts_once_in_the_total():
    (row,) = operators([event("again", 0, 100), event("again", 10, 40)], Spans([]))
    assert (row.calls, row.self_s, row.total_s) == (2, pytest.approx(1e-4), pytest.approx(1e-4))


def test_operators_of_different_threads_do_not_nest():
    other = trace.TraceEvent("b", trace.OPERATOR, 10, 40, (1, 2), {})
    self_times = {row.name: row.self_s for row in operators([event("a", 0, 100), other], Spans([]))}
    assert self_times == {"a": pytest.approx(1e-4), "b": pytest.approx(3e-5)}


def test_python_frames_are_removed_and_modules_keep_their_parents():
    def python(name, number, parent):
        return {"cat": "python_function", "name": name, "args": {"Python id": number, "Python parent id": parent}}

    events = trace.only_modules(
        [
            python("nn.Module: Net_0", 1, None),
            python("/home/somebody/net.py(7): forward", 2, 1),
            python("nn.Module: Conv2d_0", 3, 2),
            {"cat": "cpu_op", "name": "aten::conv2d"},
        ]
    )
    assert [entry["name"] for entry in events] == ["nn.Module: Net_0", "nn.Module: Conv2d_0", "aten::conv2d"]
    assert events[1]["args"]["Python parent id"] == 1
    assert events[0]["args"]["Python parent id"] is None


def test_a_thinned_timeline_keeps_its_peak():
    points = [(float(at), (at * 7919) % 10_007) for at in range(5000)]
    thin = capture.thin(points)
    assert len(thin) <= capture.POINTS
    assert thin == sorted(thin)
    assert max(size for _, size in thin) == max(size for _, size in points)
    assert capture.thin(points[:5]) == points[:5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or cut off"),
        (gzip.compress(b'{"traceEvents": [' + b"1, " * 999, mtime=0)[:40], "damaged or cut off"),
        (b'{"traceEvents": [{"ph": "X"', "damaged or cut off"),
        (b"\xff\xfe\x00", "damaged or cut off"),
        (b"[1, 2]", "not a trace of torch.profiler"),
        (b'{"traceEvents": 3}', "not a trace of torch.profiler"),
    ],
    ids=["empty", "cut gzip", "cut JSON", "no text", "a list", "no events"],
)
def test_a_damaged_trace_is_refused(tmp_path, content, message):
    path = tmp_path / "cpu.1.pt.trace.json.gz"
    path.write_bytes(content)
    with pytest.raises(ConvbenchError, match=message):
        trace.read(path)
    with pytest.raises(ConvbenchError, match=message), perfetto.server(path, 0):
        pass


def test_a_large_trace_is_checked_in_pieces(tmp_path, monkeypatch):
    """It is passed on without being held whole."""
    monkeypatch.setattr(trace, "SMALL", 0)
    monkeypatch.setattr(files, "CHUNK", 8)
    path = tmp_path / "cpu.1.pt.trace.json.gz"
    path.write_bytes(gzip.compress(b' {"traceEvents": [1, 2]} \n'))
    with monkeypatch.context() as patch:
        patch.setattr(trace, "read", pytest.fail)
        trace.refuse_broken(path)
    for content in (b'{"events": [1, 2, 3]}', b'["traceEvents", 1, 2]', b'{"traceEvents": [1, 2, 3'):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(ConvbenchError, match="it has no traceEvents"):
            trace.refuse_broken(path)
    monkeypatch.setattr(trace, "MOST_BYTES", 20)
    with pytest.raises(ConvbenchError, match="it unpacks to more than"):
        trace.refuse_broken(path)


def test_a_missing_trace_is_refused(tmp_path):
    with pytest.raises(ConvbenchError, match="No such file"):
        trace.read(tmp_path / "none.gz")


def test_a_damaged_summary_is_refused_with_a_remedy(tmp_path):
    directory = tmp_path / profiles.PROFILES / "one"
    directory.mkdir(parents=True)
    (directory / profiles.SUMMARY).write_text('{"case": ')
    (directory / f"cpu.1{profiles.TRACE}").touch()
    with pytest.raises(ConvbenchError, match="profile the case again"):
        profile_section.read(tmp_path)


def test_directory_names_are_short_plain_and_distinct():
    first, second = (profiles.directory_of(Path(), f"conv/avg-k(k={k})/{'é' * 300}/../eager").name for k in (4, 5))
    assert first != second
    assert len(first) < 100
    assert set(first) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=.+-_")


def test_a_trace_is_found_by_its_case(run):
    path = place(run, EAGER).trace
    for name in (EAGER.id, "*/eager/inference/cpu", "inference", str(path)):
        assert profiles.find_trace(name, [run]) == path
    assert profiles.find_trace(f"{path.parent}/", []) == path


def test_a_trace_is_found_by_an_id_that_is_too_long_for_a_path(monkeypatch):
    profile = profiles.Profile(Path(), f"net:build({'k' * 300}=1)/eager", Path("trace"))
    monkeypatch.setattr(profiles, "profiles_of", lambda run: [profile] if run == Path("run") else [])
    assert profiles.find_trace(profile.case, [Path("run")]) == profile.trace


def test_a_run_may_be_named_in_place_of_a_case(run):
    """This used to end in the message that no profile has that name."""
    with pytest.raises(ConvbenchError, match="names 2 profiles"):
        profiles.find_trace(str(run), [])


@pytest.mark.parametrize(("name", "message"), [("nothing", "no profile of 'nothing'"), ("conv", "names 2 profiles")])
def test_an_unknown_or_ambiguous_case_is_refused_with_all_names(run, name, message):
    with pytest.raises(ConvbenchError, match=message) as error:
        profiles.find_trace(name, [run])
    assert EAGER.id in str(error.value)
    assert TRAIN.id in str(error.value)


@pytest.fixture
def trace_server(run):
    path = place(run, EAGER).trace
    with perfetto.server(path, 0) as (server, address):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield path, address
        server.shutdown()
        thread.join()


def test_only_the_page_and_trace_are_served_on_loopback(trace_server):
    path, address = trace_server
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address, timeout=10) as answer:
        text = answer.read().decode()
    assert "ui.perfetto.dev" in text
    assert path.name in text
    with urllib.request.urlopen(f"{address}trace", timeout=10) as answer:
        assert answer.read() == path.read_bytes()
    for other in ("trace/../../run.json", "etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + other, timeout=10)


def test_a_hostile_name_is_text_on_the_page():
    text = perfetto.page(HOSTILE)
    assert "<img" not in text
    assert text.count("</script>") == 1


def test_a_port_in_use_is_reported(trace_server):
    port = int(trace_server[1].rstrip("/").rsplit(":", 1)[1])
    with pytest.raises(ConvbenchError, match=f"port {port} is in use: choose another with --port"):
        free_port(port)
    with pytest.raises(ConvbenchError, match="is in use"), perfetto.server(trace_server[0], port):
        pass
    assert free_port(0) > 0


def test_tensorboard_reports_what_is_missing(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(viewer, "find_spec", lambda name: None if name == "torch_tb_profiler" else object())
        with pytest.raises(ConvbenchError, match=r"torch_tb_profiler not installed: pip install 'convbench\[tensorb"):
            viewer.start(run, 0)
    monkeypatch.setattr(viewer, "find_spec", lambda _: object())
    with pytest.raises(ConvbenchError, match="holds no profiles"):
        viewer.start(tmp_path, 0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(ConvbenchError, match="is in use"):
            viewer.start(run, server.getsockname()[1])


@pytest.mark.parametrize("folder", ["", profiles.PROFILES])
def test_a_failed_tensorboard_start_reports_its_output(run, folder, tmp_path, monkeypatch):
    """An address that nobody served used to be printed. Users of TensorBoard itself name the folder of the traces."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ImportError: no builder' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(viewer.sys, "executable", str(python))
    monkeypatch.setattr(viewer, "find_spec", lambda _: object())
    with pytest.raises(ConvbenchError, match=r"^TensorBoard has ended with exit code 1: ImportError: no builder$"):
        viewer.start(run / folder, 0)


def test_the_report_shows_a_models_variants_side_by_side(run, tmp_path):
    summary = profiles.summary(place(run, EAGER).directory)
    variant = json.loads(json.dumps(summary)) | {"case": summary["case"].replace("/eager/", "/channels_last/")}
    variant["operators"] = [row for row in variant["operators"] if row["name"] != "aten::lstm"]
    (group,) = profile_section.groups([variant, summary])
    assert group["variants"] == ["eager", "channels_last"]
    third = variant | {"case": summary["case"].replace("/eager/", "/compile/")}
    tables = profile_section.groups([third, variant, summary])  # a table of three was wider than a sheet
    assert [table["variants"] for table in tables] == [["eager", "channels_last"], ["eager", "compile"]]
    assert [table["variants"] for table in profile_section.groups([third])] == [["compile"]]
    lstm = next(row for row in group["operators"] if row["name"] == "aten::lstm")
    assert lstm["cells"][0]["stage"] == "LSTM"  # as in the figures
    assert lstm["cells"][1] is None
    assert lstm["cells"][0]["calls"] == "1"
    assert {row["stage"] for row in group["stages"]} >= {"backbone", "reducer", "LSTM"}
    of_gru = {name: summary[name].replace("/lstm", "/gru") for name in ("case", "eager")}
    (gated,) = profile_section.groups([summary | of_gru])
    assert [row["stage"] for row in gated["stages"]] == [row["stage"].replace("LSTM", "GRU") for row in group["stages"]]
    assert group["peaks"][0]["kinds"].split()[0] in ("weights", "activations", "workspace", "temporaries")


def test_memory_figures_follow_the_tables_order_and_the_peaks_unit(run):
    summary = profiles.summary(place(run, EAGER).directory)
    variant = summary | {"case": summary["case"].replace("/eager/", "/channels_last/")}
    drawn = profile_section.timelines([variant, summary])
    assert [drawing.title for drawing in drawn] == ["Memory of eager", "Memory of channels_last"]
    (axes,) = drawn[0].figure.axes
    unit = axes.texts[0].get_text().split()[-1]
    assert axes.get_ylabel() == f"{unit} alive · lower is better"
    assert axes.get_ylim()[1] > 1
    half = variant | {"memory": summary["memory"] | {"peak_bytes": summary["memory"]["peak_bytes"] / 2}}
    beside = [drawing.figure.axes[0] for drawing in profile_section.timelines([half, summary])]
    assert len({axes.get_ylim() for axes in beside}) == 1, "peaks that differ looked equally high"
    assert beside[1].get_lines()[1].get_ydata()[0] == beside[0].get_lines()[1].get_ydata()[0] / 2


def test_the_section_of_the_report_shows_hostile_names_as_text(run):
    summary = profiles.summary(place(run, TRAIN).directory)
    summary |= {"case": f"{HOSTILE}/eager/train/cpu", "eager": f"{HOSTILE}/eager/train/cpu"}
    summary["operators"][0]["name"] = HOSTILE
    drawings = [figure.figure(timeline, f"m{n}") for n, timeline in enumerate(profile_section.timelines([summary]))]
    template = template_of._environment().get_template("profile.html")
    text = template.render(profiles=profile_section.groups([summary]), timelines=drawings)
    assert "<img" not in text
    assert "Where time and memory go" in text
    assert text.count("<figure") == 1
    assert template.render(profiles=[], timelines=[]).strip() == ""
