"""What a run was to measure and has no record of."""

from __future__ import annotations

from collections.abc import Sequence

from convbench.core.record import Record, RunDescription


def unmeasured(run: RunDescription, records: Sequence[Record]) -> list[str]:
    """The ids of what is planned and has no record, and of later trainings, which are planned at no learning rate.

    A model of which this machine skipped each training is trained no further.
    """
    trainings = [(record, record.case.at_any_rate.id) for record in records if record.case.trains]
    measured_ids = {record.case.id for record in records}.union(name for _, name in trainings)
    skipped_models = {_model(name) for record, name in trainings if record.status == "skipped"}
    skipped_models -= {_model(name) for record, name in trainings if record.status != "skipped"}
    later_ids = [name for name in run.later if _model(name) not in skipped_models]
    return [name for name in (*run.planned, *later_ids) if name not in measured_ids]


def _model(name: str) -> tuple[str, str]:
    """What is trained, of a training's id: all but its seed."""
    model, _, seed = name.rpartition("/seed=")
    return model, seed.partition("/")[2]
