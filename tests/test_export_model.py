"""Which measured case ``export-model`` hands over: by its id, a part of it or a glob."""

from __future__ import annotations

from pathlib import Path

import pytest
import records

from convbench.cli.export_model import _chosen
from convbench.core.errors import ConvbenchError

RECORDS = [records.record(records.case(name)) for name in ("gap", "gmp")]


@pytest.mark.parametrize("name", ["gap", "*/gap/*", RECORDS[0].case.id])
def test_a_case_is_known_by_what_only_would_pick_it_by(name):
    assert _chosen(name, RECORDS, Path("run")) is RECORDS[0]


@pytest.mark.parametrize(("name", "message"), [
    ("gpa", "run: no measured case is called 'gpa'; did you mean 'gap'?"),
    ("winter", "run: no measured case is called 'winter': `convbench report run` shows their names"),
    ("eager", "run: 2 cases match 'eager', as conv/gap/"),
])  # fmt: skip
def test_what_names_no_case_or_several_is_told(name, message):
    with pytest.raises(ConvbenchError) as told:
        _chosen(name, RECORDS, Path("run"))
    assert str(told.value).startswith(message)
