"""Replace ``convbench.measure.side`` on a side whose convbench is older, with all modules flat in the package.

It maps the names of that layout, as it was released before the sub-packages, and never changes again. Like the worker,
which loads it by its path, it runs in the side's tree and imports that side's convbench.
"""

# mypy: ignore-errors
from __future__ import annotations

import contextlib
import importlib
from dataclasses import asdict

import torch
from pydantic import TypeAdapter


def _flat(name):
    """Import a module of the flat package. The convbench that this file belongs to has no such module."""
    return importlib.import_module(f"convbench.{name}")


environment, harness, nvml, opening = map(_flat, ("environment", "harness", "nvml", "opening"))
preflight, record, registry, subjects = map(_flat, ("preflight", "record", "registry", "subject"))
suites, sweep, variants = map(_flat, ("suite", "sweep", "variants"))
PROTOCOL = 1
VERSION = importlib.import_module("convbench").__version__


def describe(device):
    facts = environment.describe(device)
    return {"facts": facts, "fingerprint": environment.fingerprint(facts)}


def plan(suite, overrides, device, only, skip):
    loaded = suites.load(suite, overrides)
    planned = sweep.plan(loaded, environment.describe(device), sweep.Selection(only, skip))
    cases = [{"id": case.id, "case": asdict(case), "alone": bool(case.variant)} for case in planned.cases]
    return {"name": loaded.name, "cases": cases, "protocol": asdict(loaded.protocol)}


def read(described):
    return TypeAdapter(record.Case).validate_python(described)


def resolved(described):
    return preflight.resolve(read(described))


def variables(case):
    return variants.process_environment(case)


def subject(case, seed):
    return subjects.transform(subjects.assemble(case, seed))


def compared(case, seed):
    opened, _ = opening.open_case(case, seed)
    return opened, opening.TOLERANCE[opened.dtype]


def counts(case, seed):
    protocol = record.Protocol(seed=seed)
    readings = list(harness.measure(case, protocol, ("params", "macs")).readings)
    if any(choice.name == "compile" for choice in case.variant):
        results = registry.probes.get("compile").build(subjects.assemble(case, seed, device="meta"), protocol)
        readings += [result for result in results if hasattr(result, "samples")]
    exact = {reading.metric.name: reading.samples[0] for reading in readings}
    with contextlib.suppress(Exception):
        exact["predicted_peak_bytes"] = _flat("prediction").predict(case).peak
    return exact


def throttling(device):
    return str(nvml.state(torch.device(device)).get("throttle_reasons"))


def explain(error):
    failure = harness.explain(error)
    return failure.kind, failure.message
