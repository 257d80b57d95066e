"""The script that checks first screens against the next run: it contradicts wrong statements and nothing else."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "bench"))

import statements


def shares(truth, later):
    judged = statements.judged(statements.run(truth, 1, disturbed=True), statements.run(later, 2, disturbed=False))
    return {statement.words: wrong for statement, wrong in judged}


def test_the_next_run_of_one_machine_contradicts_almost_nothing():
    truth = statements.machine(3)
    judged = shares(truth, truth)
    assert len(judged) == 18
    assert sum(judged.values()) <= 1


def test_a_machine_with_other_times_contradicts_the_statements():
    truth = statements.machine(3)
    slower = {case: seconds * (3 if "/gap/" in case else 1) for case, seconds in truth.items()}
    judged = shares(truth, slower)
    assert all(wrong for words, wrong in judged.items() if words.startswith("gap takes "))
    assert any(words.startswith("gap ") for words in judged)
    assert sum(judged.values()) >= 1
