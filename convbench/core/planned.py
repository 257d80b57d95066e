"""Find what a run planned to measure but has no record of."""

from __future__ import annotations

from collections.abc import Sequence

from convbench.core.record import Record, RunDescription


def open_ids(run: RunDescription, records: Sequence[Record]) -> list[str]:
    """Return the ids of planned cases without a record, and of later trainings, planned without a learning rate.

    If this machine skipped every training of a model, its later trainings are not made and not returned.
    """
    trainings = [(record, record.case.at_any_rate.id) for record in records if record.case.trains]
    measured_ids = {record.case.id for record in records}.union(name for _, name in trainings)
    skipped_models = {_model(name) for record, name in trainings if record.status == "skipped"}
    skipped_models -= {_model(name) for record, name in trainings if record.status != "skipped"}
    later_ids = [name for name in run.later if _model(name) not in skipped_models]
    return [name for name in (*run.planned, *later_ids) if name not in measured_ids]


def _model(name: str) -> tuple[str, str]:
    """Return what identifies the trained model in a training's id: everything but its seed."""
    model, _, seed = name.rpartition("/seed=")
    return model, seed.partition("/")[2]
