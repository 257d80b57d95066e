"""Traits that plug-ins declare, so that no code has to know a plug-in by its name. Never imports torch.

A variant is marked ``@declares(VariantTraits(...))``, a reducer ``@declares(ReducerTraits(...))``; without a mark it
has the default traits. The traits that a report needs are noted with each record (``notes_of``), because a report is
also read where the plug-in, or torch, is not installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from convbench.core.errors import ConvbenchError
from convbench.core.record import Case, Choice, Parts, Scalar
from convbench.core.registry import reducers, variants

T = TypeVar("T")
EngineName = str
TORCH: EngineName = "torch"
INDUCTOR: EngineName = "inductor"
FP32 = "fp32"
COMPILER = "compiler"
"""Stands among ``packages`` for the C++ compiler with which torch's compiler builds for a CPU."""
NO_PROJECTIONS = "the LSTM has projections (proj_size), which ONNX does not have: use aot-inductor"


@dataclass(frozen=True, slots=True)
class VariantTraits:
    """The traits of a variant. Callables receive its options by keyword.

    - ``engine``: what runs the model: ``torch``, ``inductor``, or another runtime by its own name
    - ``opaque``: module hooks see nothing inside, or would break it: no time and no memory by stage from hooks
    - ``scenarios``: the scenarios that it makes sense in; empty: all
    - ``own_process``: it changes its process, or leaves much behind in it, so that no other case may share the process
    - ``environment``: variables that its process must be started with; with ``own_process`` it is never measured in the
      process of the command or of pytest
    - ``compiles``: its first call builds code with torch's compiler
    - ``builds``: torch's compiler builds code for it, before the first call or during it
    - ``same_tensors``: it makes, frees and resizes no tensor: memory is predicted as without it
    - ``channels_last``: convolutions run in NHWC order
    - ``dtype``: the number type of its arithmetic, ``bf16``, ``fp16``, ``int8``; ``fp32`` if it leaves the model's type
    - ``packages``: distributions whose versions belong to the environment's fingerprint
    - ``modules``, ``extra``: modules without which its cases are skipped, and the extra of convbench that installs them
    - ``combines``: the other variants that a case may have beside it; one of the two names the other, or both have None
    - ``last``: it takes the model out of torch's hands, so that variants that change the model must stand before it
    - ``takes_quantisation``: its runtime quantises the model itself, as the variant before it has noted
      (``Subject.quantisation``)
    - ``unsuited``: returns why a case cannot run in the variant with these options, and what can; empty if it can. It
      is called with the case, too, and decides without a model, so that a matrix leaves such a combination out
    """

    engine: EngineName = TORCH
    opaque: bool = False
    scenarios: tuple[str, ...] = ()
    own_process: bool = False
    environment: Callable[..., Mapping[str, str]] | None = None
    compiles: bool = False
    builds: bool = False
    same_tensors: bool = False
    channels_last: bool = False
    dtype: str | Callable[..., str] = FP32
    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    extra: str = ""
    combines: tuple[str, ...] | None = None
    last: bool = False
    takes_quantisation: bool = False
    unsuited: Callable[..., str] | None = None


def runtime_traits(engine: EngineName, **traits: Any) -> VariantTraits:
    """Return the traits of a runtime that takes the exported model, which cannot train there, plus these ``traits``."""
    common: dict[str, Any] = {
        "opaque": True,
        "own_process": True,
        "scenarios": ("inference", "streaming"),
        "last": True,
    }
    return VariantTraits(engine, **common, **traits)


@dataclass(frozen=True, slots=True)
class ReducerTraits:
    """What a reducer does to a map. ``position``: whether its vector still tells where something was; None: unknown.

    ``control``: it is there for comparison, and never advised if there is another reducer. (An affine reducer's module
    declares that itself, by a class attribute ``affine = True``.)
    """

    position: Literal["kept", "lost"] | None = None
    control: bool = False


@dataclass(frozen=True, slots=True)
class ExecutorTraits:
    """The traits of an executor: the ``modules`` that it needs, and the ``extra`` of convbench that installs them."""

    modules: tuple[str, ...] = ()
    extra: str = ""


def dtype_option(*, dtype: str) -> str:
    """Return the number type of a variant that takes it as its option ``dtype``."""
    return dtype


def precision_option(*, precision: str, **_: Scalar) -> str:
    """Return the number type of a runtime that takes it as its option ``precision``, by the runtime's own name."""
    return {"f32": FP32, "bf16": "bf16", "f16": "fp16"}[precision]


def unsuited_to_onnx(case: Case, **_: Scalar) -> str:
    """Return why the case's model cannot be written to ONNX; empty if it can, or if that is not known."""
    return NO_PROJECTIONS if projects(case) else ""


def of_variant(name: str) -> VariantTraits:
    """Return the traits that a variant declares, or the default ones. Raises ConvbenchError if it cannot be found."""
    declaration = variants.get(name).declaration
    return declaration if isinstance(declaration, VariantTraits) else VariantTraits()


def impossible(case: Case) -> str:
    """Return why a variant of a case cannot be used in it, and what can; empty if all can."""
    return misplaced(case) or unsuited(case)


def unsuited(case: Case) -> str:
    """Return why a variant's options do not fit each other or the rest of the case; empty if they do."""
    questions = ((choice, of_variant(choice.name).unsuited) for choice in case.variant)
    return next(filter(None, (ask(choice, question, case) for choice, question in questions if question)), "")


def ask(choice: Choice, question: Callable[..., T], *args: Any) -> T:
    """Call what a variant declares, with the variant's options.

    Raises ConvbenchError that names the variant if a variant of another package raises.
    """
    with variants.get(choice.name).refuse_errors("variant"):
        return question(*args, **_options(choice))


def misplaced(case: Case) -> str:
    """Return why a variant of a case cannot be used in its scenario, and what can; empty if all can.

    A trial takes any variant that its own rules allow.
    """
    for choice in case.variant:
        scenarios = of_variant(choice.name).scenarios
        if scenarios and case.scenario not in scenarios and not case.trial:
            remedy = f"use scenario: {' or '.join(scenarios)}"
            return f"variant {choice} cannot be used in scenario {case.scenario}: {remedy}"
    return ""


def of_case(case: Case) -> list[VariantTraits]:
    """Return the traits of each variant of a case, in the order of application."""
    return [of_variant(choice.name) for choice in case.variant]


def opaque(case: Case) -> bool:
    """Whether module hooks would see nothing of the case, or break it."""
    return any(traits.opaque for traits in of_case(case))


def projects(case: Case) -> bool:
    """Whether the case asks for an LSTM with projections. It is not known of a user's own model."""
    return isinstance(case.architecture, Parts) and case.architecture.rnn.proj_size > 0


def compiles(case: Case) -> bool:
    """Whether the case's first call runs torch's compiler."""
    return any(traits.compiles for traits in of_case(case))


def builds(case: Case) -> bool:
    """Whether torch's compiler builds code for the case, during its first call or before."""
    return any(traits.compiles or traits.builds for traits in of_case(case))


def engine(case: Case) -> EngineName:
    """Return what runs the case: the engine of the last variant that replaces torch, else torch."""
    return next((traits.engine for traits in reversed(of_case(case)) if traits.engine != TORCH), TORCH)


def takes_quantisation(case: Case) -> bool:
    """Whether a runtime of the case quantises the model itself."""
    return any(traits.takes_quantisation for traits in of_case(case))


def own_process(case: Case) -> bool:
    """Whether the case must not share its process with any other."""
    return any(traits.own_process or traits.environment or traits.compiles for traits in of_case(case))


def changes_process(case: Case) -> bool:
    """Whether the case changes its process for good, so that anything measured in it later is affected."""
    return any(traits.own_process and traits.environment for traits in of_case(case))


def dtype(case: Case) -> str:
    """Return the number type that the variants of a case compute in; ``fp32`` if they leave the model's type."""
    kinds = ((choice, of_variant(choice.name).dtype) for choice in case.variant)
    types = (kind if isinstance(kind, str) else ask(choice, kind) for choice, kind in kinds)
    return next((name for name in types if name != FP32), FP32)


def own_numbers(case: Case) -> bool:
    """Whether the case's numbers differ from eager PyTorch's, by a different type or another runtime's arithmetic."""
    return dtype(case) != FP32 or any(traits.last for traits in of_case(case))


def packages(cases: Iterable[Case]) -> tuple[str, ...]:
    """Return what else has a version that decides whether numbers of these cases may be compared; sorted, unique.

    That is distributions, and ``COMPILER`` if torch's compiler builds any of the cases.
    """
    return tuple(sorted(_packages(map(of_variant, {choice.name for case in cases for choice in case.variant}))))


def unused_packages(cases: Iterable[Case]) -> frozenset[str]:
    """Return what ``packages`` returns for all variants on the shelf, less what it returns for these cases.

    Nothing is unused if a variant is the user's own (it is not imported here) or cannot be found: it may use anything.
    """
    cases = list(cases)
    if any(choice.is_imported for case in cases for choice in case.variant):
        return frozenset()
    declarations = (plugin.declaration for plugin in variants)
    with suppress(ConvbenchError):
        return frozenset(_packages(filter(None, declarations))).difference(packages(cases))
    return frozenset()


def _packages(all_traits: Iterable[VariantTraits]) -> set[str]:
    names: set[str] = set()
    for traits in all_traits:
        names.update(traits.packages, [COMPILER] if traits.compiles or traits.builds else [])
    return names


def missing_modules(modules: Iterable[str]) -> list[str]:
    """Return those of the modules that are not installed."""
    return [name for name in modules if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # the parent of a dotted name is missing
        return False


def notes_of(case: Case) -> dict[str, Scalar]:
    """Return the traits that a record keeps for its readers: the number type, and what the reducer does to position."""
    notes: dict[str, Scalar] = {}
    if case.variant and (number := dtype(case)) != FP32:
        notes["dtype"] = number
    if isinstance(case.architecture, Parts):
        with suppress(ConvbenchError):
            declaration = reducers.get(case.architecture.reducer.name).declaration
            if isinstance(declaration, ReducerTraits):
                notes |= {"position": declaration.position} if declaration.position else {}
                notes |= {"control": True} if declaration.control else {}
    return notes


def _options(choice: Choice) -> dict[str, Any]:
    """Return the options of a choice, with the defaults of those that it does not name."""
    defaults = {
        name: parameter.default
        for name, parameter in variants.get(choice.name).options.items()
        if parameter.default is not parameter.empty
    }
    return defaults | dict(choice.options)
