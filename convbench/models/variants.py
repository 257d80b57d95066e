"""What the variants of a case ask for: which of them cannot stand together, what must be installed, and how their
process must be started."""

from __future__ import annotations

from collections.abc import Sequence

from convbench.core import traits
from convbench.core.errors import Impossible, Unavailable
from convbench.core.record import EAGER, Case
from convbench.core.registry import variants


def refuse_misplaced(case: Case) -> None:
    """Raises Impossible where a variant of the case makes no difference, or cannot run, in its scenario or place."""
    for choice in case.variant:
        scenarios = traits.of_variant(choice.name).scenarios
        if scenarios and case.scenario not in scenarios and not case.trial:
            raise Impossible(
                f"variant {choice} cannot be used in scenario {case.scenario}: use scenario: {' or '.join(scenarios)}"
            )
    _refuse_combination(case)


def _refuse_combination(case: Case) -> None:
    """Raises Impossible for variants that cannot stand beside one another, or not in this order."""
    choices = [choice for choice in case.variant if choice.name != EAGER]
    names = [choice.name for choice in choices]
    for place, name in enumerate(names):
        variant = traits.of_variant(name)
        other_names = [other for other in names if other != name]
        is_alone = variant.engine != traits.TORCH or not combine(name, name)
        if name in names[place + 1 :] and (is_alone or case.variant.count(choices[place]) > 1):
            raise Impossible(f"variant {name} is written twice: write it once, with the options of one")
        if variant.combines is not None and (clashes := [other for other in other_names if not combine(name, other)]):
            partners = ", ".join(_partners(name))
            remedy = f"{name} combines with {partners}" if partners else f"{name} stands alone"
            raise Impossible(f"variants {name} and {clashes[0]} cannot be combined: {remedy}")
        later_names = [other for other in names[place + 1 :] if not traits.of_variant(other).same_tensors]
        if variant.last and later_names:
            raise Impossible(
                f"{name} takes the model as it is: write {later_names[0]}+{name}, not {name}+{later_names[0]}"
            )


def combine(name: str, other: str) -> bool:
    """Whether two variants can stand beside one another: either says so, or neither says anything of others."""
    partners, other_partners = traits.of_variant(name).combines, traits.of_variant(other).combines
    return partners is other_partners is None or other in (partners or ()) or name in (other_partners or ())


def _partners(name: str) -> list[str]:
    """The variants that one which does not stand beside all names, and those of the shelf that name it."""
    back_references = [plugin.name for plugin in variants if name in (traits.of_variant(plugin.name).combines or ())]
    return list(dict.fromkeys([*(traits.of_variant(name).combines or ()), *back_references]))


def process_environment(case: Case) -> dict[str, str]:
    """Variables that the case's process must be started with. Raises Unavailable where they cannot be had."""
    variables: dict[str, str] = {}
    for variant, options in traits.of_case(case):
        if variant.environment is not None:
            variables |= variant.environment(**options)
    return variables


def need(variant: str, modules: Sequence[str] = ()) -> None:
    """Raises Unavailable where a module that a variant needs is not installed, and says how it is."""
    declaration = traits.of_variant(variant)
    if missing_modules := traits.missing_modules(modules or declaration.modules):
        remedy = f"pip install 'convbench[{declaration.extra}]'" if declaration.extra else "install it"
        raise Unavailable(f"{', '.join(missing_modules)} is not installed, which the variant {variant} needs: {remedy}")
