"""Rehearse the kit on a simulated GPU: ``python rehearse.py [PART ...] --out DIR``, with a C++ compiler.

It builds ``device.cpp``, and an interpreter all of whose processes find that device and the packages of this one. Then
it predicts the proven peaks, and runs the kit's parts with tiny cases. Steps must end well, as on a GPU; times mean
nothing, so checks may disagree.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import torch

HERE = Path(__file__).parent
KIT = HERE.parent / "kit.py"


def build(folder: Path) -> Path:
    """Compile the device into a library in the folder, unless it is there and newer than its source."""
    source, library = HERE / "device.cpp", folder / "device.so"
    if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
        root = Path(torch.__file__).parent
        headers = (root / "include", root / "include/torch/csrc/api/include")
        options = ["-O0", "-w", "-shared", "-fPIC", "-std=c++20", *(f"-I{header}" for header in headers)]
        links = [f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{root / 'lib'}"]
        subprocess.run(["g++", *options, str(source), "-o", str(library), *links], check=True)
    return library


def interpreter(folder: Path) -> Path:
    """Make an environment with the packages of this one, which starts every process with the simulated GPU."""
    environment = folder / "python"
    venv.create(environment, with_pip=False)
    scheme = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", vars=scheme))
    lines = [f"import site; site.addsitedir({package!r})" for package in site.getsitepackages()]
    (packages / "packages.pth").write_text("\n".join(lines) + "\n")
    for path in (HERE / "sitecustomize.py", *HERE.glob("*_of_paper.py")):
        shutil.copy(path, packages / path.name.replace("pynvml_of_paper", "pynvml"))
    return environment / "bin/python"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["1", "2", "3", "4"], help="parts of the kit")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", help="these steps, comma-separated")
    args = parser.parse_args()
    folder = args.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python, library = interpreter(folder), build(folder)
    environment = os.environ | {"CONVBENCH_PAPER": str(library), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    failed = []
    if subprocess.run([str(python), str(HERE / "peaks.py")], env=environment, check=False).returncode:
        failed.append("predicted peaks")
    for part in args.parts:
        words = [str(KIT), part, "--small", "--seconds", "2400", "--out", str(folder / part)]
        words += ["--only", args.only] if args.only else []
        subprocess.run([str(python), *words], env=environment, check=False)
        steps = json.loads((folder / part / "checks.json").read_text())["steps"]
        failed += [f"{step['step']} ({step['ended']})" for step in steps if step["ended"] != 0]
    print("not well:", ", ".join(failed) or "nothing")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
