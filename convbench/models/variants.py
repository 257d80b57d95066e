"""The shelf of variants: Subject -> Subject, the same mathematics another way. One file per variant.

Keyword-only parameters are options; ``@declares(VariantTraits(...))`` says what the variant is. A variant's module
imports torch inside its functions, so that a report can ask what a variant is where there is no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from convbench.core import traits
from convbench.core.errors import Impossible
from convbench.core.record import Case

if TYPE_CHECKING:
    from convbench.models.subject import Subject

VariantFactory = Callable[..., "Subject"]


def refuse_misplaced(case: Case) -> None:
    """Raises Impossible where a variant of the case makes no difference, or cannot run, in its scenario."""
    for choice in case.variant:
        scenarios = traits.of_variant(choice.name).scenarios
        if scenarios and case.scenario not in scenarios:
            raise Impossible(
                f"variant {choice} cannot be used in scenario {case.scenario}: use scenario: {' or '.join(scenarios)}"
            )


def process_environment(case: Case) -> dict[str, str]:
    """Variables that the case's process must be started with. Raises Unavailable where they cannot be had."""
    variables: dict[str, str] = {}
    for declared, options in traits.of_case(case):
        if declared.environment is not None:
            variables |= declared.environment(**options)
    return variables
