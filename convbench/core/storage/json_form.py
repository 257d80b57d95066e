"""Write records and run descriptions as JSON, read them again, and say why something cannot be read."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.core.record import Finding, Parts, Record, RunDescription
from convbench.core.storage.shards import NUMBERED
from convbench.core.system import files

Storable = TypeVar("Storable", Metric, Finding)
CATALOGUED_FIELDS = {field.name for field in fields(Metric)} - {"name", "unit", "better"}
"""Fields of a built-in metric that the catalogue knows, so that no record has to store them."""

NUMBERS = 2.0**53
"""The number up to which a float holds every integer."""
BOUNDS = {
    "a time that a call can take": (1e-12, 1e9, (metrics.LATENCY, metrics.REFERENCE)),
    "a share of time": (0.0, 1e9, (metrics.RUN_DELAY, metrics.STEAL)),  # summed over threads, per second
    "a share": (
        0.0, 1.0,
        (
            metrics.VAL_ACCURACY, metrics.TEST_ACCURACY, metrics.TRAIN_ACCURACY, metrics.MAJORITY,
            metrics.CONTROL_EXPECTED, metrics.WHAT_ACCURACY, metrics.TEST_RIGHT,
        ),
    ),
    "a number of clips, classes or steps": (
        1.0, NUMBERS, (metrics.STEPS, metrics.CLASSES, metrics.TEST_CLIPS, metrics.POOL),
    ),
    "the number of a clip": (0.0, NUMBERS, (metrics.TEST_SOURCES,)),
}  # fmt: skip
"""What a sample of these metrics must be, and the least and greatest one: others would be damage."""
LIMITS = {metric.name: (low, high, words) for words, (low, high, group) in BOUNDS.items() for metric in group}
SIZES = ("MAC", "FLOP", "B")
LARGEST = 1e30
"""The number above which no count of parameters, MACs, FLOPs or bytes is."""


def record_line(record: Record) -> bytes:
    """Return a record as a line of JSON."""
    return as_json(adapter(RECORD), record, exclude=_record_omissions(record))


def description_text(run: RunDescription) -> bytes:
    """Return the description of a run as JSON, indented for readers."""
    optional = ("hosts", "environments", "between_hosts", "parts", "shards", "later")  # left out if they are empty
    return as_json(adapter(RUN), run, indent=1, exclude={name for name in optional if not getattr(run, name)})


def parse_record(line: bytes) -> Record:
    """Return the record of a line. Raises pydantic's ValidationError, which ``reason`` puts into words."""
    record: Record = adapter(RECORD).validate_json(line)
    return record


def is_record(line: bytes) -> bool:
    """Whether a text is the whole line of a record."""
    with suppress(ValidationError):
        return bool(line) and parse_record(line) is not None
    return False


def version_of(text: bytes) -> int:
    """Return the version of the schema that a record or a description names, whatever else is in it; 0 if none."""
    with suppress(ValidationError):
        version: int = adapter(_Version).validate_json(text).schema_version
        return version
    return 0


def parse_description(text: bytes) -> RunDescription:
    """Return the run of a description. Raises pydantic's ValidationError."""
    run: RunDescription = adapter(RUN).validate_json(text)
    return run


def as_stored(value: Storable) -> Storable:
    """Return a metric or finding as readers of the run get it. Raises ValueError if its line could not be read."""
    kind: Any = type(value)  # mypy takes a frozen dataclass for unhashable
    value_adapter: TypeAdapter[Storable] = adapter(kind)
    return value_adapter.validate_json(as_json(value_adapter, value, warnings=False))


def as_json(kind: TypeAdapter[Any], value: Any, **options: Any) -> bytes:
    """Return a value as a line of JSON. Lone surrogates, which UTF-8 cannot hold, become their escapes."""
    try:
        return kind.dump_json(value, **options) + b"\n"
    except ValueError:
        storable = kind.validate_python(_escape(kind.dump_python(value, warnings=False)))
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
    """Return a number that JSON can hold; None for infinity, NaN and None."""
    return value if value is not None and math.isfinite(value) else None


def reason(error: ValidationError) -> str:
    """Return the first mistake that pydantic found, and where it is."""
    detail = error.errors()[0]
    location = ".".join(str(part) for part in detail["loc"])
    return f"{location + ': ' if location else ''}{detail['msg']}"


def _record_omissions(record: Record) -> dict[str, Any]:
    """Return what a line leaves out: the words of built-in metrics, and empty fields that older versions did not have.

    The words of other metrics are stored, for readers without the package that declares them.
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


@dataclass
class _Version:
    schema_version: int = 0


def _check_record(record: Record) -> Record:
    clip, architecture = record.case.clip, record.case.architecture
    case_sizes: list[int | None] = [clip.batch, clip.frames, clip.channels, clip.height, clip.width]
    if isinstance(architecture, Parts):
        case_sizes += [architecture.rnn.hidden, architecture.rnn.layers, architecture.lstm_input, architecture.head]
    if not all(1 <= size <= sys.maxsize for size in case_sizes if size is not None):
        raise PydanticCustomError("sizes", "a size of its case is not positive, or beyond any model's")
    for reading in record.readings:
        name = reading.metric.name
        low, high, words = LIMITS.get(name, (0.0, 0.0, ""))
        if words and not all(low <= sample <= high for sample in reading.samples):  # NaN fails both comparisons
            raise PydanticCustomError("bounds", "a sample of {name} is not {words}", {"name": name, "words": words})
        is_size = metrics.is_ours(reading.metric) and (name == metrics.PARAMS.name or reading.metric.unit in SIZES)
        if is_size and not all(abs(sample) <= LARGEST for sample in reading.samples):
            raise PydanticCustomError("sizes", "a sample of {name} is not a size that a model can have", {"name": name})
        sizes = reading.visits
        if sizes and (len(sizes) != len(record.visits) or min(sizes) < 0 or sum(sizes) != len(reading.samples)):
            raise PydanticCustomError("visits", "the samples of {name} do not match its visits", {"name": name})
    return record


def _check_run(run: RunDescription) -> RunDescription:
    for name, maximum in (("intervals_meet", 1.0), ("visible_slowdown", sys.float_info.max)):
        share = getattr(run, name)
        if share is not None and not 0 <= share <= maximum:
            raise PydanticCustomError("share", "{name} is not a share: {share}", {"name": name, "share": share})
    for shard in run.shards:
        if not NUMBERED.fullmatch(shard):
            raise PydanticCustomError("shard", "{shard} of shards is not written as 1/4", {"shard": repr(shard)})
    return run


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return pydantic's adapter of a type, which takes long to make."""
    return TypeAdapter(kind)


RECORD, RUN = Annotated[Record, AfterValidator(_check_record)], Annotated[RunDescription, AfterValidator(_check_run)]
