"""A worker without torch, so that a check takes seconds. ``fake.json`` in its working directory tells its answers.

By case: ``seconds`` of a call, ``ends`` (``die`` or ``hang`` in the fifth slice, or ``die at start``), ``outputs``.
``inspection fails`` names a case, ``trials`` the cases that are trainings. ``unplanned`` is an error of reading the
suite. ``plugins`` must be named in the environment.
"""

# ruff: noqa: ARG002
from __future__ import annotations

import json
import os
import random
import time
from fnmatch import fnmatchcase
from pathlib import Path

from convbench.check.programs import serving

TOLD = json.loads(Path("fake.json").read_text())


class Fake:
    def __init__(self) -> None:
        self.case, self.slices = "", 0

    def hello(self, threads, device, case=None):
        if "broken" in TOLD:
            raise RuntimeError(TOLD["broken"])
        if case and TOLD.get("ends", {}).get(case["name"]) == "die at start":
            os.abort()
        return {"protocol": TOLD.get("protocol", 1), "convbench": "0.0.1", "forks": TOLD.get("forks", True)}

    def describe(self, device):
        return {"facts": {"torch": TOLD.get("torch", "2.13"), "threads": 1}, "fingerprint": "f"}

    def plan(self, suite, overrides, device, only, skip):
        if idle := [glob for glob in only if not any(fnmatchcase(name, glob) for name in TOLD["seconds"])]:
            raise RuntimeError(f"--only {idle[0]} matches none of the cases")
        if "unplanned" in TOLD:
            raise RuntimeError(TOLD["unplanned"])
        if lacking := set(TOLD.get("plugins", ())) - set(os.environ.get("CONVBENCH_PLUGINS", "").split(",")):
            raise RuntimeError(f"unknown reducer of {lacking}")
        trials = TOLD.get("trials", {})
        cases = [
            {"id": name, "case": {"name": name, "variant": [], "trial": trials.get(name)}, "alone": False}
            for name in TOLD["seconds"]
        ]
        return {"name": "fake", "cases": cases, "protocol": {"seed": 0, "timeout": TOLD.get("timeout", 20)}}

    def resolve(self, case, name):
        if name not in TOLD["seconds"]:
            raise RuntimeError(f"unknown reducer {name!r}")
        return {"variables": {}}

    def inspect(self, case, name, seed, outputs):
        import numpy as np

        if TOLD.get("inspection fails") == name or case["trial"]:
            raise RuntimeError("no such net")
        number = TOLD.get("outputs", {}).get(name, 0.5)
        np.savez(outputs, *([] if number is None else [np.full((2, 3), number)]))
        return {"facts": TOLD.get("facts", {}), "tolerance": 1e-3, "by_norm": False}

    def instructions(self, case, seed):
        if "instructions" not in TOLD:
            raise RuntimeError("valgrind is not installed")
        return {"count": TOLD["instructions"][case["name"]], "by": "valgrind"}

    def modules(self):
        own = {"fake": str(Path("fake.json").absolute())}  # a module in each side's own tree
        return {"files": TOLD.get("files", own)}

    def pin(self, cores):
        os.sched_setaffinity(0, cores)
        return {}

    def prepare(self, case, seed, injected):
        self.case, self.slices, self.slower = case["name"], 0, 1 + injected[0] / 1000 if injected else 1.0
        return {"device": "cpu", "seconds": 0.01}

    def calibrate(self, case, seed, slowdown):
        return {"injected": [round(1000 * slowdown), 64], "achieved": slowdown}

    def warm(self, calls):
        return {}

    def slice(self, seconds, leading):
        self.slices += 1
        how = TOLD.get("ends", {}).get(self.case)
        if self.slices == 5 and how == "die":
            print("about to fall over", flush=True)
            os.abort()
        if self.slices == 5 and how == "hang":
            time.sleep(60)
        spread = TOLD.get("spread", 0.001)
        return {
            "best": self.slower * TOLD["seconds"][self.case] * random.gauss(1, spread),
            "device": None,
            "state": None,
        }

    def release(self):
        return {}

    def explain(self, error):
        return {"kind": "error", "message": str(error)}


serving.main(Fake)
