"""The crossover size, against the published closed form and the balance that it claims."""

import pytest
import records

from convbench.analysis.costs.crossover import crossover, recurrent_macs
from convbench.analysis.results import result
from convbench.core.record import Recurrent


def test_the_articles_crossover_is_6784():
    assert crossover(result(records.record(records.case("gap")))) == 6_784


def test_streaming_has_the_same_crossover_as_a_clip():
    assert crossover(result(records.record(records.case("gap", scenario="streaming")))) == 6_784


@pytest.mark.parametrize("rnn", [
    Recurrent(), Recurrent(hidden=64, layers=3), Recurrent(bidirectional=True, layers=2),
    Recurrent(proj_size=32, layers=2, bidirectional=True), Recurrent(cell="gru", hidden=100),
])  # fmt: skip
def test_at_the_crossover_both_stages_cost_the_same(rnn):
    record = records.record(records.case("gap", parts={"rnn": rnn}))
    slope, rest = recurrent_macs(rnn)
    assert slope * crossover(result(record)) + rest == pytest.approx(56_623_104 / 16)


def test_an_lstm_that_always_costs_more_has_no_crossover():
    rnn = Recurrent(hidden=4096)
    assert crossover(result(records.record(records.case("gap", parts={"rnn": rnn})))) is None


@pytest.mark.parametrize(("rnn", "macs"), [
    (Recurrent(hidden=128), (512, 65_536)), (Recurrent(cell="gru", hidden=128), (384, 49_152)),
    (Recurrent(hidden=512, layers=3), (2048, 2048 * 512 + 2 * 2048 * 1024)),
])  # fmt: skip
def test_recurrent_macs_of_known_shapes(rnn, macs):
    assert recurrent_macs(rnn) == macs


def test_training_has_no_closed_form_crossover():
    assert crossover(result(records.record(records.case("gap", scenario="train")))) is None
