"""The shelf of variants: Subject -> Subject, the same mathematics another way. One file per variant.

Keyword-only parameters are options. A variant whose process must be started with certain environment variables says so
with ``@starts_with``, one that changes nothing but a certain scenario with ``@only_in``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from convbench.core.errors import Impossible
from convbench.core.record import Case
from convbench.core.registry import variants

if TYPE_CHECKING:
    from convbench.models.subject import Subject

VariantFactory = Callable[..., "Subject"]
Environment = Callable[..., Mapping[str, str]]
_ENVIRONMENTS: dict[VariantFactory, Environment] = {}
_SCENARIOS: dict[VariantFactory, str] = {}


def starts_with(environment: Environment) -> Callable[[VariantFactory], VariantFactory]:
    """Decorator: the variant's process is started with the variables that ``environment(**options)`` returns."""

    def mark(variant: VariantFactory) -> VariantFactory:
        _ENVIRONMENTS[variant] = environment
        return variant

    return mark


def only_in(scenario: str) -> Callable[[VariantFactory], VariantFactory]:
    """Decorator: the variant makes a difference in this scenario only; asking for it elsewhere is refused."""

    def mark(variant: VariantFactory) -> VariantFactory:
        _SCENARIOS[variant] = scenario
        return variant

    return mark


def refuse_misplaced(case: Case) -> None:
    """Raises Impossible where a variant of the case makes no difference in its scenario."""
    for choice in case.variant:
        scenario = _SCENARIOS.get(variants.get(choice.name).build, case.scenario)
        if scenario != case.scenario:
            raise Impossible(f"variant {choice} changes nothing in scenario {case.scenario}: use scenario: {scenario}")


def process_environment(case: Case) -> dict[str, str]:
    """Variables that the case's process must be started with. Raises Unavailable where they cannot be had."""
    variables: dict[str, str] = {}
    for choice in case.variant:
        environment = _ENVIRONMENTS.get(variants.get(choice.name).build)
        if environment is not None:
            variables |= environment(**dict(choice.options))
    return variables
