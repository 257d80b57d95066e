"""Estimate how hosts affect the times measured on them, by the two-way model log time = case + host + noise.

The model is fitted by weighted least squares with Huber's weights, so that a spoilt visit has little influence. A
host's effect is estimated from the cases that it shares with other hosts. An effect that rests on few visits is shrunk
towards zero, the more so the less certain it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from convbench.core.statistics import MAD, NORMAL

ITERATIONS = 12
HUBER = 1.5
"""Residuals beyond this many standard deviations count less."""


class Effect(NamedTuple):
    """How much slower a host is than the typical host of its group, as a log; ``half_width`` is half the 95 % interval.

    ``correction`` is the effect drawn towards 0; it is subtracted from the logs of the host's times.
    """

    log: float
    half_width: float
    correction: float


class Cell(NamedTuple):
    """One visit: the log of its time, its case and its host."""

    case: str
    host: str
    log: float


def host_effects(cells: Sequence[Cell]) -> dict[str, Effect]:
    """Return the effect of each host that shares cases with another; empty if there are fewer than two such hosts."""
    cells = _shared_cells(cells)
    hosts = sorted({cell.host for cell in cells})
    if len(hosts) < 2:
        return {}
    rows = np.unique([cell.case for cell in cells], return_inverse=True)[1]
    columns = np.unique([cell.host for cell in cells], return_inverse=True)[1]  # in the order of ``hosts``
    logs = np.array([cell.log for cell in cells])
    values, errors = _fit(rows, columns, logs)
    estimates = _shrink(values, errors)
    return {
        host: Effect(float(values[i]), float(NORMAL * errors[i]), float(estimates[i])) for i, host in enumerate(hosts)
    }


def _shared_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Return the visits to cases that at least two hosts have visited."""
    hosts: dict[str, set[str]] = {}
    for cell in cells:
        hosts.setdefault(cell.case, set()).add(cell.host)
    return [cell for cell in cells if len(hosts[cell.case]) > 1]


def _fit(rows: np.ndarray, columns: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the hosts' effects, with a mean of 0, and their standard errors."""
    weights = np.ones(len(logs))
    cases, hosts = rows.max() + 1, columns.max() + 1
    effects: np.ndarray = np.zeros(hosts)
    inverse: np.ndarray = np.eye(hosts)
    spread = 1.0
    for _ in range(ITERATIONS):
        table = np.bincount(rows * hosts + columns, weights, cases * hosts).reshape(cases, hosts)
        totals = np.maximum(table.sum(axis=1), 1e-12)
        matrix = np.diag(table.sum(axis=0)) - (table.T / totals) @ table
        means = np.bincount(rows, weights * logs, cases) / totals
        inverse = np.linalg.pinv(matrix, hermitian=True)
        effects = inverse @ np.bincount(columns, weights * (logs - means[rows]), hosts)
        residuals = logs - effects[columns]
        residuals -= (np.bincount(rows, weights * residuals, cases) / totals)[rows]
        degrees = max(1, len(logs) - cases - hosts + 1)
        spread = max(1e-6, MAD * float(np.median(np.abs(residuals))) * math.sqrt(len(logs) / degrees))
        weights = np.minimum(1.0, HUBER * spread / np.maximum(np.abs(residuals), 1e-12))
    return effects, spread * np.sqrt(np.maximum(np.diag(inverse), 0.0))


def _shrink(effects: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return each effect times the share of its variance that is not error.

    The effects sum to 0, which makes both variances too small: both are corrected for it.
    """
    noise = errors**2 * len(effects) / (len(effects) - 1)
    variance = max(0.0, float(effects.var(ddof=1) - noise.mean()))
    estimates: np.ndarray = effects * variance / np.maximum(variance + noise, 1e-12)
    return estimates
