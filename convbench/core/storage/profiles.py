"""Find the profiles that a run keeps of its cases, and the case of each. Never imports torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from convbench.core.errors import ConvbenchError
from convbench.core.option_types import NonNegative
from convbench.core.storage.json_form import reason
from convbench.core.system import files
from convbench.core.text import digest

PROFILES, SUMMARY, TRACE = "profiles", "profile.json", ".pt.trace.json.gz"
LONGEST_NAME = 80
MOST_BYTES = 2**24
"""Largest summary that is read; ours have some 100 KB."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Operator(BaseModel):
    name: str
    stage: str
    phase: str
    calls: NonNegative
    self_s: Seconds
    total_s: Seconds
    device_s: Seconds
    self_bytes: int


class _Memory(BaseModel):
    peak_bytes: NonNegative
    at_peak: list[tuple[str, str, int]]
    timeline: Annotated[list[tuple[Seconds, int]], Field(min_length=1)]


class _Summary(BaseModel):
    """``profile.json``: sums over ``steps`` calls, and the memory of one more call."""

    case: Annotated[str, Field(pattern=r"^[^/]+(/[^/]+){2,}$")]
    eager: str
    trace: str
    steps: Annotated[int, Field(ge=1)]
    step_s: Annotated[list[Seconds], Field(min_length=1)]
    operators: list[_Operator]
    memory: _Memory


@dataclass(frozen=True, slots=True)
class Profile:
    """One case's profile: its directory, the case's id, and its newest trace."""

    directory: Path
    case: str
    trace: Path


def directory_of(profiles: Path, case_id: str) -> Path:
    """Return the directory of a case: its id in letters that every file system takes, and a hash to keep it unique."""
    stem = re.sub(r"[^A-Za-z0-9=.+-]+", "_", case_id)[:LONGEST_NAME].strip("_.")
    return profiles / f"{stem}-{digest(case_id)[:8]}"


def trace_name(worker: str, nanoseconds: int) -> str:
    return f"{worker}.{nanoseconds}{TRACE}"


def summary(directory: Path) -> dict[str, Any]:
    """Return ``profile.json`` of a case. Raises ConvbenchError if it cannot be read."""
    path = directory / SUMMARY
    try:
        return _Summary.model_validate_json(files.read(path, MOST_BYTES)).model_dump()
    except ValidationError as error:
        raise ConvbenchError(f"{path}: not a profile of convbench ({reason(error)}): profile the case again") from error
    except (OSError, ValueError) as error:
        raise ConvbenchError(f"{path}: cannot be read ({error}): profile the case again") from error


def profiles_of(run: Path) -> Iterator[Profile]:
    """Yield the profiles of a run, sorted by directory name, without those that have no trace."""
    for path in sorted((run / PROFILES).glob(f"*/{SUMMARY}")):
        yield from _profile_in(path.parent)


def _profile_in(directory: Path) -> Iterator[Profile]:
    traces = sorted(directory.glob(f"*{TRACE}"), key=lambda trace: trace.stat().st_mtime_ns)
    if traces:
        yield Profile(directory, str(summary(directory)["case"]), traces[-1])


def find_trace(pattern: str, runs: list[Path]) -> Path:
    """Return the trace at a path, or of the one case in ``runs`` whose id equals, contains or matches ``pattern``.

    A path may also be that of a case's folder, or of a run with a single profile. Raises ConvbenchError if there is
    none, or if there are several, with their names.
    """
    place, place_profiles = Path(pattern), list[Profile]()
    with suppress(OSError):  # a case's id may be too long for a path
        if place.is_file():
            return place
        place_profiles += _profile_in(place) if (place / SUMMARY).is_file() else profiles_of(place)
    profiles = [profile for run in runs for profile in profiles_of(run)]
    exact_matches = place_profiles or [profile for profile in profiles if profile.case == pattern]
    matches = exact_matches or [
        profile for profile in profiles if fnmatchcase(profile.case, pattern) or pattern in profile.case
    ]
    if not matches:
        place.exists()  # raises OSError for a path that no file can have
        listing = "".join(f"\n  {profile.case}" for profile in profiles)
        hint = f"; profiled cases:{listing}" if listing else ": run `convbench profile SUITE` first"
        raise ConvbenchError(f"no profile of {pattern!r} in {', '.join(map(str, runs))}{hint}")
    if len(matches) > 1:
        names = "".join(f"\n  {profile.case} ({profile.directory})" for profile in matches)
        raise ConvbenchError(f"{pattern!r} names {len(matches)} profiles; name one of them, or its folder:{names}")
    return matches[0].trace
