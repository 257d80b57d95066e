"""The shelf of variants: Subject -> Subject, the same mathematics another way. One file per variant.

Keyword-only parameters are options. A variant whose process must be started with certain environment variables says so
with ``@starts_with``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from convbench.record import Case
from convbench.registry import variants

if TYPE_CHECKING:
    from convbench.subject import Subject

VariantFactory = Callable[..., "Subject"]
Environment = Callable[..., Mapping[str, str]]
_ENVIRONMENTS: dict[VariantFactory, Environment] = {}


def starts_with(environment: Environment) -> Callable[[VariantFactory], VariantFactory]:
    """Decorator: the variant's process is started with the variables that ``environment(**options)`` returns."""

    def mark(variant: VariantFactory) -> VariantFactory:
        _ENVIRONMENTS[variant] = environment
        return variant

    return mark


def process_environment(case: Case) -> dict[str, str]:
    """Variables that the case's process must be started with. Raises Unavailable where they cannot be had."""
    variables: dict[str, str] = {}
    for choice in case.variant:
        environment = _ENVIRONMENTS.get(variants.get(choice.name).build)
        if environment is not None:
            variables |= environment(**dict(choice.options))
    return variables
