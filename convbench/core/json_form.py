"""Records and runs as JSON: what is written of them and what is left out, and why something cannot be read."""

from __future__ import annotations

import math
import sys
from dataclasses import fields
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from convbench.core import files, metrics
from convbench.core.metric import Metric
from convbench.core.record import Record, RunDescription
from convbench.core.shards import SHARD

CATALOGUED_FIELDS = {field.name for field in fields(Metric)} - {"name", "unit", "better"}
"""Of a metric of ours: what the catalogue says of it, so that no record has to."""

TIMES = (metrics.LATENCY.name, metrics.REFERENCE.name)
"""What logarithms are taken of."""
LONGEST = 1e9
"""Seconds that nobody waits for a call."""


def record_line(record: Record) -> bytes:
    """A record as a line."""
    return as_json(_records(), record, exclude=_record_omissions(record))


def description_text(run: RunDescription) -> bytes:
    """The description of a run, indented for readers."""
    return as_json(_descriptions(), run, indent=1, exclude=_description_omissions(run))


def parse_record(line: bytes) -> Record:
    """The record of a line. Raises pydantic's ValidationError, whose ``reason`` is what a reader must know."""
    return _records().validate_json(line)


def parse_description(text: bytes) -> RunDescription:
    """The run of a description. Raises pydantic's ValidationError."""
    return _descriptions().validate_json(text)


def as_json(kind: TypeAdapter[Any], value: Any, **options: Any) -> bytes:
    """A noun as a line of JSON. Lone surrogates, which UTF-8 cannot hold, become their escapes."""
    try:
        return kind.dump_json(value, **options) + b"\n"
    except ValueError:
        storable = kind.validate_python(_escape(kind.dump_python(value)))
        return kind.dump_json(storable, **options) + b"\n"


def _escape(value: Any) -> Any:
    match value:
        case str():
            return files.encoded(value).decode()
        case dict():
            return {_escape(key): _escape(item) for key, item in value.items()}
        case list() | tuple():
            return [_escape(item) for item in value]
    return value


def finite(value: float | None) -> float | None:
    """A number as JSON has it; None for infinity, NaN and None, for which JSON has no number."""
    return value if value is not None and math.isfinite(value) else None


def reason(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    detail = error.errors()[0]
    location = ".".join(str(part) for part in detail["loc"])
    return f"{location + ': ' if location else ''}{detail['msg']}"


def _record_omissions(record: Record) -> dict[str, Any]:
    """What a line leaves out: the words of our own metrics, and what is empty since a version that did not have it.

    The words of anybody's own metrics are stored, for readers without the package.
    """
    readings: dict[int, dict[str, Any]] = {}
    for index, reading in enumerate(record.readings):
        omissions: dict[str, Any] = {"metric": CATALOGUED_FIELDS} if metrics.is_ours(reading.metric) else {}
        readings[index] = omissions if reading.visits else omissions | {"visits": True}
    empty_fields: dict[str, Any] = {name: True for name in ("code", "visits") if not getattr(record, name)}
    case: dict[str, Any] = {} if record.case.threads else {"case": {"threads": True}}
    if record.visits and not any(visit.host for visit in record.visits):
        empty_fields["visits"] = {"__all__": {"host": True}}
    return {"readings": readings, **empty_fields, **case}


def _description_omissions(run: RunDescription) -> set[str]:
    """What a description leaves out: what is empty of hosts where there is one, of merged parts and of trainings."""
    names = ("hosts", "environments", "between_hosts", "parts", "shards", "later")
    return {name for name in names if not getattr(run, name)}


def _check_samples(record: Record) -> Record:
    for reading in record.readings:
        name = reading.metric.name
        if name in TIMES and not all(0 < sample < LONGEST for sample in reading.samples):  # NaN is neither
            raise PydanticCustomError("times", "a sample of {name} is no time that a call can take", {"name": name})
        sizes = reading.visits
        if sizes and (len(sizes) != len(record.visits) or min(sizes) < 0 or sum(sizes) != len(reading.samples)):
            raise PydanticCustomError("visits", "the samples of {name} are not those of its visits", {"name": name})
    return record


def _check_run(run: RunDescription) -> RunDescription:
    for name, maximum in (("intervals_meet", 1.0), ("visible_slowdown", sys.float_info.max)):
        share = getattr(run, name)
        if share is not None and not 0 <= share <= maximum:
            raise PydanticCustomError("share", "{name} is no share: {share}", {"name": name, "share": share})
    for shard in run.shards:
        if not SHARD.fullmatch(shard):
            raise PydanticCustomError("shard", "{shard} of shards is not written as 1/4", {"shard": repr(shard)})
    return run


@cache
def _descriptions() -> TypeAdapter[RunDescription]:
    return TypeAdapter(Annotated[RunDescription, AfterValidator(_check_run)])


@cache
def _records() -> TypeAdapter[Record]:
    return TypeAdapter(Annotated[Record, AfterValidator(_check_samples)])
