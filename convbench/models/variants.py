"""Check which variants a case may combine and which modules they need, and find the environment of their process."""

from __future__ import annotations

from collections.abc import Sequence

from convbench.core import traits
from convbench.core.errors import Impossible, Unavailable
from convbench.core.record import EAGER, Case
from convbench.core.registry import variants
from convbench.core.text import joined


def refuse_misplaced(case: Case) -> None:
    """Raise Impossible if a variant makes no difference or cannot run in its scenario, position or with its options."""
    if reason := traits.misplaced(case):
        raise Impossible(reason)
    _refuse_combination(case)
    refuse_unsuited(case)


def refuse_unsuited(case: Case) -> None:
    """Raise Impossible if a variant's options do not fit each other or the rest of the case."""
    if reason := traits.unsuited(case):
        raise Impossible(reason)


def _refuse_combination(case: Case) -> None:
    """Raise Impossible if variants cannot be combined, or not in this order."""
    choices = [choice for choice in case.variant if choice.name != EAGER]
    names = [choice.name for choice in choices]
    for place, name in enumerate(names):
        variant = traits.of_variant(name)
        other_names = [other for other in names if other != name]
        is_alone = variant.engine != traits.TORCH or not combine(name, name)
        if name in names[place + 1 :] and (is_alone or case.variant.count(choices[place]) > 1):
            raise Impossible(f"variant {name} is written twice: write it once, with one set of options")
        if variant.combines is not None and (clashes := [other for other in other_names if not combine(name, other)]):
            partners = ", ".join(_partners(name))
            remedy = f"{name} combines with {partners}" if partners else f"{name} combines with no other"
            raise Impossible(f"variants {name} and {clashes[0]} cannot be combined: {remedy}")
        later_names = [other for other in names[place + 1 :] if not traits.of_variant(other).same_tensors]
        if variant.last and later_names:
            raise Impossible(
                f"{name} must come after variants that change the model: "
                f"write {later_names[0]}+{name}, not {name}+{later_names[0]}"
            )


def combine(name: str, other: str) -> bool:
    """Whether two variants may be combined: one of them names the other, or neither declares ``combines``."""
    partners, other_partners = traits.of_variant(name).combines, traits.of_variant(other).combines
    return partners is other_partners is None or other in (partners or ()) or name in (other_partners or ())


def _partners(name: str) -> list[str]:
    """Return the variants that ``name`` declares in ``combines``, and all registered variants that name it there."""
    back_references = [plugin.name for plugin in variants if name in (traits.of_variant(plugin.name).combines or ())]
    return list(dict.fromkeys([*(traits.of_variant(name).combines or ()), *back_references]))


def process_environment(case: Case) -> dict[str, str]:
    """Return the environment variables with which the case's process must start.

    Raises Unavailable if a variant cannot provide them on this machine.
    """
    variables: dict[str, str] = {}
    for choice in case.variant:
        if environment := traits.of_variant(choice.name).environment:
            variables |= traits.ask(choice, environment)
    return variables


def need(variant: str, modules: Sequence[str] = ()) -> None:
    """Raise Unavailable if a module that a variant needs is not installed. The message says how to install it."""
    declaration = traits.of_variant(variant)
    if missing_modules := traits.missing_modules(modules or declaration.modules):
        remedy = f"pip install 'convbench[{declaration.extra}]'" if declaration.extra else "install it"
        verb = "is" if len(missing_modules) == 1 else "are"
        raise Unavailable(
            f"the variant {variant} needs {joined(missing_modules)}, which {verb} not installed: {remedy}"
        )
