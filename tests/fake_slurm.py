#!/usr/bin/env python3
"""A fake Slurm of one machine for tests: sbatch, srun, sacct, scancel and squeue, as far as submitit uses them.

``install`` makes the five commands in a folder that a test puts on its path. Each job is a process in its own session.
The folder ``FAKE_SLURM`` has a file for each array element, with its process and whether it was cancelled.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel", "squeue")
PARTITIONS = ("short", "gpu")


def install(folder: Path) -> dict[str, str]:
    """Write the commands into ``folder`` and return the variables that a process needs to find them."""
    folder.mkdir(parents=True)
    state = folder / "state"
    state.mkdir()
    for name in COMMANDS:
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {Path(__file__).absolute()} {name} "$@"\n')
        script.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "FAKE_SLURM": str(state)}


def state() -> Path:
    return Path(os.environ["FAKE_SLURM"])


def sbatch(words: list[str]) -> int:
    script = Path(words[-1]).read_text()
    partition = _option(script, "partition")
    if partition and partition not in PARTITIONS:
        print(f"sbatch: error: invalid partition specified: {partition}", file=sys.stderr)
        print("sbatch: error: Batch job submission failed: Invalid partition name specified", file=sys.stderr)
        return 1
    number = 1 + max((int(re.split("[_.]", path.name)[0]) for path in state().iterdir()), default=0)
    (state() / f"{number}_script.sh").write_text(script)
    array = re.search(r"--array=0-(\d+)", script)
    for element in range(int(array[1]) + 1) if array else [None]:
        name = str(number) if element is None else f"{number}_{element}"
        _start(name, number, element)
    print(f"Submitted batch job {number}")
    return 0


def _start(name: str, number: int, element: int | None) -> None:
    variables = os.environ | {
        "SLURM_JOB_ID": str(number + (element or 0)), "SLURM_JOB_NODELIST": f"node{element or 0}", "SLURM_NNODES": "1",
        "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_LOCALID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "1",
    }  # fmt: skip
    if element is not None:
        variables |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(element)}
    script = state() / f"{number}_script.sh"
    done = state() / f"{name}.done"
    process = subprocess.Popen(
        ["/bin/bash", "-c", f"/bin/bash {script}; echo $? > {done}"],
        env=variables, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=(state() / f"{name}.err").open("w"),
    )  # fmt: skip
    (state() / f"{name}.json").write_text(json.dumps({"pid": process.pid, "cancelled": False}))


def srun(words: list[str]) -> int:
    while words and words[0].startswith("-"):
        takes_value = "=" not in words[0] and words[0] in ("--output", "--error", "-o", "-e")
        if words[0] in ("--output", "--error"):
            _redirect(words[0], words[1])
        words = words[2 if takes_value else 1 :]
    os.execvp(words[0], words)


def _redirect(option: str, pattern: str) -> None:
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID", "0")
    number = array or os.environ["SLURM_JOB_ID"]
    path = pattern.replace("%A", number).replace("%a", element).replace("%j", number).replace("%t", "0")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1 if option == "--output" else 2)


def sacct(words: list[str]) -> int:
    print("JobID|State|NodeList")
    jobs = {words[at + 1].partition("_")[0] for at, word in enumerate(words) if word == "-j"}
    for path in sorted(state().glob("*.json")):
        name = path.stem
        if not jobs or name.partition("_")[0] in jobs:
            print(f"{name}|{_state(name)}|node{name.partition('_')[2] or 0}")
    return 0


def _state(name: str) -> str:
    known = json.loads((state() / f"{name}.json").read_text())
    done = state() / f"{name}.done"
    if known["cancelled"]:
        return "CANCELLED by 0"
    if done.exists():
        return "COMPLETED" if done.read_text().strip() == "0" else "FAILED"
    return "RUNNING" if _lives(known["pid"]) else "NODE_FAIL"


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def scancel(words: list[str]) -> int:
    for word in (word for word in words if not word.startswith("-")):
        for path in state().glob("*.json"):
            if path.stem == word or path.stem.startswith(f"{word}_"):
                known = json.loads(path.read_text())
                path.write_text(json.dumps(known | {"cancelled": True}))
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(known["pid"], signal.SIGTERM)
    return 0


def squeue(words: list[str]) -> int:
    for path in state().glob("*.json"):
        if _state(path.stem) == "RUNNING":
            print(path.stem, "RUNNING")
    return 0


def _option(script: str, name: str) -> str:
    match = re.search(rf"^#SBATCH --{name}=(\S+)$", script, re.MULTILINE)
    return match[1] if match else ""


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](sys.argv[2:]))
