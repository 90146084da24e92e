"""``ofa models``: the models of timm that can be made elastic, and why another one cannot.

Every model is built without memory and walked, which takes about a second; those of other classes are left out unbuilt.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

import timm
from timm.models import model_entrypoint
from torch import nn
from tqdm import tqdm

from ofa.errors import UserError
from ofa.report.units import short
from ofa.supernet import families
from ofa.supernet.derived.derive import base_of, space_values
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.operators import macs
from ofa.supernet.space import SearchSpace

CLASSES = 1000  # of the networks whose MACs are counted
SpaceOf = Callable[[str], SearchSpace]


class ModelFacts(NamedTuple):
    """What a model's space holds: ``size`` distinct networks, and the MACs of the smallest and largest of them."""

    name: str
    size: int
    resolutions: tuple[int, ...]
    smallest: float
    largest: float


class NoSpace(NamedTuple):
    """A model without a space, and why, in one sentence."""

    name: str
    reason: str


def matching_names(wanted: str | None) -> list[str]:
    """``wanted`` itself if it is a name of timm's; else those of the supported classes that contain it, or match it as
    a pattern (``*``, ``?``).

    Raises ``UserError`` with the nearest names when there is none.
    """
    if wanted is not None and timm.is_model(wanted):
        return [wanted]
    pattern = "" if wanted is None else wanted if set("*?[") & set(wanted) else f"*{wanted}*"
    names = timm.list_models(pattern)
    if not names:
        near = difflib.get_close_matches(str(wanted), timm.list_models(), n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else "; `ofa models` lists all that work"
        raise UserError(f"timm {timm.__version__} has no model called {wanted!r}{meant}")
    return [name for name in names if _may_work(name)]


def _may_work(name: str) -> bool:
    """Whether the module that defines a model knows one of the supported classes."""
    return bool(families.derived_classes().keys() & vars(sys.modules[model_entrypoint(name).__module__]).keys())


def space_of_model(name: str) -> SearchSpace:
    """All that may be chosen of a model of timm. Raises ``ValueError`` that names what is in the way."""
    return SearchSpace.from_dict(space_values(name))


def facts_of(name: str, space_of: SpaceOf = space_of_model) -> ModelFacts | NoSpace:
    """What ``space_of`` gives for a model's name, counted."""
    try:
        space = space_of(name)
        ends = [
            sum(float(macs(part, side)) for part, side in parts_of_subnet(space, end, num_classes=CLASSES, in_chans=3))
            for end in (space.smallest, space.largest)
        ]
    except Exception as error:  # whatever timm or torch say of a model that they cannot build
        return NoSpace(name, _reason(name, error))
    return ModelFacts(name, space.size, space.resolutions, *ends)


def _reason(name: str, error: Exception) -> str:
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    try:
        found = first_in_the_way(base_of(name, {}))
    except Exception:  # timm itself cannot build it
        found = ""
    return f"{text.rstrip('.')}{found}"


def first_in_the_way(model: nn.Module) -> str:
    """The end of a sentence: the first module that is no supported model's; empty when the model's class is one."""
    known = families.derived_classes()
    if type(model).__name__ in known:
        return ""
    supported = {vars(timm.models)[name].__module__ for name in known}
    own = {sys.modules[module] for module in supported}
    for path, module in model.named_modules():
        kind = type(module)
        ours = kind.__module__.startswith(("torch.", "timm.layers")) or any(
            vars(one).get(kind.__name__) is kind for one in own
        )
        if path and not ours:
            return f"; the first module in the way is {path}, a {kind.__name__} of {kind.__module__}"
    return f"; the first module in the way is its own forward, of {type(model).__module__}"


def model_lines(wanted: str | None, *, space_of: SpaceOf = space_of_model, progress: bool = True) -> Iterator[str]:
    """A line for each model that works, one after the other; at the end how many did.

    Raises ``UserError`` when ``wanted`` is the name of one model and it does not work.
    """
    names = matching_names(wanted)
    exact = names == [wanted]
    width, working, others = max(map(len, names), default=0), 0, []
    for name in tqdm(names, desc="building models", leave=False, delay=2, disable=None if progress else True):
        found = facts_of(name, space_of)
        if isinstance(found, ModelFacts):
            working += 1
            yield model_line(found, width)
        elif exact:
            raise UserError(found.reason)
        else:
            others.append(found)
    if not exact:
        yield _summary(working, others)


def model_line(found: ModelFacts, width: int) -> str:
    """One line, with the name in ``width`` columns."""
    size = f"{Decimal(found.size):.1e}".replace("e+", "e") if found.size >= 1e6 else f"{found.size:,}"
    amounts = f"{short(found.smallest):>6} to {short(found.largest):>6} MACs"
    return f"{found.name:<{width}}  {size:>9} networks  {amounts}  {found.resolutions[0]} to {found.resolutions[-1]} px"


def _summary(working: int, others: Sequence[NoSpace]) -> str:
    text = f"{working} models of timm {timm.__version__} work"
    if others:
        text += f", and {len(others)} of their classes do not, such as {others[0].name}: {others[0].reason}"
    return text
