"""A fresh install without extras: everything of convbench's own runs, and the rest names its extra in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from convbench.core import registry
from convbench.core.errors import Unavailable
from convbench.core.registry import Plugin, declares, executors
from convbench.core.traits import ExecutorTraits
from convbench.measure.machine import doctor, toolchain

EXTRAS = ("onnx", "onnxruntime", "onnxscript", "openvino", "torchao")
ROOT = Path(__file__).parent.parent
PROGRAM = """
import json, sys
from convbench.core.record import Case, Choice, Clip, Parts, Protocol, Recurrent
from convbench.measure import attempts, harness
from convbench.measure.machine import doctor, toolchain

small = Parts(Choice("conv", (("channels", 4),)), Choice("fc"), 6, Recurrent(hidden=5))
variants = {
    "eager": (), "half": ("half",), "int8": ("int8",), "onnxruntime": ("onnxruntime",), "openvino": ("openvino",),
    "int8+onnxruntime": ("int8", "onnxruntime"), "aot-inductor": ("aot-inductor",), "tensorrt": ("tensorrt",),
}
cases = {name: Case(small, Clip(1, 2, 3, 8, 8), tuple(map(Choice, names))) for name, names in variants.items()}
cases["torchao"] = Case(small, Clip(1, 2, 3, 8, 8), (Choice("int8", (("method", "torchao"),)),))
protocol = Protocol(max_warmup=0.0, max_time=0.0, min_samples=1)
records = {
    name: attempts.attempt(case, lambda asked: harness.measure(asked, protocol, ("latency",)))
    for name, case in cases.items()
}
print(json.dumps({
    "records": {name: [each.status, each.failure.message if each.failure else ""] for name, each in records.items()},
    "doctor": {each.name: [each.is_good, each.message] for each in doctor.examine()},
}))
"""


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This environment's packages without those of the extras, as in another installation."""
    site = tmp_path_factory.mktemp("site")
    for entry in Path(torch.__file__).parents[1].iterdir():
        if entry.name.partition("-")[0].partition(".")[0] not in EXTRAS:
            (site / entry.name).symlink_to(entry)
    return site


def python(site_packages: Path, *words: str) -> str:
    """Return what a plain interpreter prints there. Its path has no compiler either."""
    paths = {"PYTHONPATH": f"{site_packages}:{ROOT}", "PATH": str(site_packages)}
    environment = {name: value for name, value in os.environ.items() if name not in ("CXX", "PYTHONHOME")} | paths
    words = (sys._base_executable, "-S", *words)
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def answers(site_packages: Path) -> dict[str, dict[str, list]]:
    return json.loads(python(site_packages, "-c", PROGRAM).splitlines()[-1])


@pytest.mark.parametrize("name", ["eager", "half", "int8"])
def test_variants_without_an_extra_run_in_a_plain_install(answers: dict[str, dict[str, list]], name: str) -> None:
    assert answers["records"][name] == ["ok", ""]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("onnxruntime", "onnx and onnxscript, which are not installed: pip install 'convbench[onnxruntime]'"),
        ("openvino", "onnx and onnxscript, which are not installed: pip install 'convbench[openvino]'"),
        ("int8+onnxruntime", "onnx and onnxscript, which are not installed: pip install 'convbench[onnxruntime]'"),
        ("torchao", "int8 needs torchao, which is not installed: pip install 'convbench[int8]'"),
        ("aot-inductor", "AOTInductor cannot build here: "),
        ("tensorrt", "TensorRT runs on NVIDIA GPUs only"),
    ],
)
def test_a_variant_whose_extra_is_missing_is_skipped_naming_it(
    answers: dict[str, dict[str, list]], name: str, sentence: str
) -> None:
    status, message = answers["records"][name]
    assert status == "skipped"
    assert sentence in message
    assert "\n" not in message


def test_doctor_lists_the_missing_runtimes(answers: dict[str, dict[str, list]]) -> None:
    for extra, variants in (("onnxruntime", "onnxruntime and tensorrt"), ("openvino", "openvino"), ("int8", "int8")):
        good, message = answers["doctor"][f"[{extra}]"]
        assert not good
        assert f"pip install 'convbench[{extra}]' for" in message
        assert variants in message


@pytest.mark.parametrize(("named", "there", "message"), [
    (None, "g++", None),
    ("", "g++", "CXX= is not a program that torch can start"),
    (None, "clang++", "there is no C++ compiler g++: "),
    ("clang++", "clang++", None),
    ("ccache g++", "g++", "CXX=ccache g++ is not a program that torch can start"),
])  # fmt: skip
def test_only_the_compiler_that_torch_tries_is_checked(
    named: str | None, there: str, message: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another compiler made doctor say "ok", but each compiled case failed with "No working C++ compiler found"."""
    (tmp_path / there).touch(mode=0o755)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    if named is not None:
        monkeypatch.setenv("CXX", named)
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda *_: str(tmp_path))
    (tmp_path / "Python.h").touch()
    missing = toolchain.missing_tool()
    assert missing is message is None or str(missing).startswith(str(message))


def test_the_header_is_sought_where_torch_looks_with_debians_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Outside of a virtual environment its own scheme leads to /usr/local, and every compiled case was skipped."""
    (tmp_path / "Python.h").touch()
    folders = {"posix_prefix": str(tmp_path), "posix_local": "/usr/local/include/python3.12"}
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda _, scheme="posix_local": folders[scheme])
    assert toolchain._missing_everywhere() is None


def test_an_encoding_in_which_torch_cannot_read_its_own_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With PYTHONUTF8=0 and LC_ALL=C the compiler's import ended the server: "killed, or short of processes"."""
    monkeypatch.setattr(toolchain.locale, "getpreferredencoding", lambda _: "ANSI_X3.4-1968")
    assert str(toolchain._missing_everywhere()).endswith("unset PYTHONUTF8, or set LC_ALL=C.UTF-8")


@pytest.mark.parametrize("name", toolchain.SWITCHES)
def test_compile_is_unavailable_if_a_variable_disables_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left set after debugging, it gave eager's numbers under compile, and doctor said "ok"."""
    monkeypatch.setenv(name, "1")
    assert doctor._compiler().message == f"{name}=1 switches torch.compile off, so that it would run eager: unset it"
    with pytest.raises(Unavailable, match=f"{name}=1 switches torch.compile off"):
        registry.variants.get("compile").build(Mock(device="cuda:0"))
    monkeypatch.setenv(name, "0")
    assert "switches" not in doctor._compiler().message


@pytest.mark.parametrize(("missing", "capability", "programs", "message"), [
    (["triton"], (9, 0), ["gcc"], "there is no triton: install the one that torch"),
    ([], (6, 1), ["gcc"], "triton builds for no GPU of compute capability 6.1, only from 7.0"),
    ([], (9, 0), ["g++"], "triton finds no C compiler: on Debian, apt-get install gcc"),
    ([], (9, 0), ["clang"], None),
])  # fmt: skip
def test_compile_is_unavailable_on_a_gpu_without_its_tools(
    missing: list[str], capability: tuple[int, int], programs: list[str], message: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each case failed with torch's or triton's own words."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(toolchain, "missing_modules", lambda _: missing)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: name if name in programs else None)
    monkeypatch.setattr(toolchain.Path, "exists", lambda _: True)
    reason = toolchain.missing_gpu_tool()
    assert reason is message is None or str(reason).startswith(str(message))
    if reason:
        with pytest.raises(Unavailable, match=f"torch.compile cannot build here: {reason}".replace("+", "[+]")):
            registry.variants.get("compile").build(Mock(device="cuda:0"))


def test_aot_inductor_is_unavailable_on_a_gpu_without_the_cuda_toolkit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convbench.plugins.variants.aot_inductor.missing_gpu_tool", lambda: None)
    monkeypatch.setattr("convbench.plugins.variants.aot_inductor.missing_tool", lambda: None)
    monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", None)
    with pytest.raises(Unavailable, match=r"there is no CUDA toolkit \(nvcc\): install it, or set CUDA_HOME"):
        registry.variants.get("aot-inductor").build(Mock(device="cuda"))


@pytest.mark.parametrize(("name", "builds"), [("tmp-1.x~(ü)", True), ("my tmp", False), ("it's", False)])
def test_a_temporary_folder_unusable_for_torch_builds_is_reported(
    name: str, builds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every compiled case failed with "C++ compile error", while doctor said "ok"."""
    monkeypatch.setattr(toolchain.shutil, "which", lambda _: "/usr/bin/g++")
    monkeypatch.setattr(toolchain.Path, "exists", lambda _: True)
    monkeypatch.setattr("tempfile.gettempdir", lambda: f"/scratch/{name}")
    missing = toolchain.missing_tool()
    assert (missing is None) is builds
    assert builds or f"torch cannot build in /scratch/{name}" in str(missing)


def test_doctor_shows_the_load_without_getloadavg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no such call."""
    monkeypatch.delattr(os, "getloadavg")
    assert " on " in doctor._load().message


def test_doctor_names_the_extra_of_any_executor_plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doctor used to have a fixed list with the names of convbench's own executors."""

    @declares(ExecutorTraits(modules=("no_such_module",), extra="shop"))
    class Shop:
        pass

    monkeypatch.setitem(executors._plugins, "shop", Plugin("shop", Shop, "", {}))
    rows = {row.name: row for row in doctor._extras()}
    assert {"[ray]", "[slurm]"} <= set(rows)
    assert (rows["[shop]"].is_good, rows["[shop]"].message) == (
        False,
        "pip install 'convbench[shop]' for the executor shop",
    )


def test_doctor_reports_installed_packages_that_fail_to_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Doctor used to say "ok", and each case failed."""
    (tmp_path / "no_such_runtime.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor._import_error(["json", "no_such_runtime"]) == (
        "no_such_runtime is installed but cannot be imported (ImportError: libcudart.so.12: cannot open shared object "
        "file): reinstall it"
    )
    assert doctor._import_error(["json"]) is None


def test_list_marks_variants_whose_extra_is_missing(site_packages: Path) -> None:
    lines = python(site_packages, "-m", "convbench", "list", "variants").splitlines()
    lacking = {line.split("(")[0].strip() for line in lines if "[not installed: pip install 'convbench[" in line}
    assert lacking == {"onnxruntime", "openvino", "tensorrt"}
