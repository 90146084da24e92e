"""What one block of a derived space may choose: each thing for itself, or several together, as kinds of the block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ofa.supernet.genome import MAX_OPTIONS, Gene
from ofa.supernet.space import SOME, Section, ascending

MAX_SIZE = 1_000_000  # channels of a layer, and any other number of them
KIND = "kind"  # role and key of the gene that chooses one of a block's kinds

Size = Annotated[int, Field(ge=0, le=MAX_SIZE)]
Options = Annotated[tuple[Size, ...], SOME]
# 1.0 becomes 1, so that one network is written one way.
Ratio = Annotated[
    float, Field(ge=0.01, le=100), AfterValidator(lambda value: int(value) if value == int(value) else value)
]
KindName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.]{0,31}$")]  # it stands in rows of numbers joined by "-"


class Alternative(NamedTuple):
    """Another block that may stand in the place of block ``index`` of ``stage``.

    ``number`` is that of the kind that it is, and ``block`` says what it is, as the family's ``with_blocks`` reads it.
    """

    stage: int
    index: int
    number: int
    block: str

    def path(self, containers: Sequence[str]) -> str:
        """Its name in the elastic model: it is kept inside the block that it stands for."""
        return f"{containers[self.stage]}.{self.index}.alternatives.{self.number}"


class WithoutAbsentChoices(Section):
    """Written without the choices that it does not have."""

    @model_serializer(mode="wrap")
    def _without_absent_choices(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if value}


class Kind(WithoutAbsentChoices):
    """Settings of a block that are chosen together; or another block in its place, and then nothing else."""

    kernels: dict[str, Size] = Field({}, description="Size of each depthwise convolution's kernel, by its name.")
    expand: Ratio | None = Field(None, description="Ratio of middle channels.")
    heads: Size | None = Field(None, description="Number of attention heads.")
    block: Annotated[str, Field(max_length=200)] = Field(
        "", description="Another block in its place, as timm's builder reads it."
    )

    @property
    def settings(self) -> dict[str, float]:
        """What it sets, by name; nothing where it is another block."""
        named = {f"kernels.{leaf}": kernel for leaf, kernel in self.kernels.items()}
        return named | {role: value for role in ("expand", "heads") if (value := getattr(self, role)) is not None}


class Block(WithoutAbsentChoices):
    """What a block may choose, ascending but for strides; a choice that it does not have is left out.

    A block has either choices that are independent, or ``kinds`` by name: of these one gene chooses, and their last has
    the largest of every setting.
    """

    in_channels: Size = Field(description="Channels that it reads in the largest network.")
    kernels: dict[str, Options] = Field(
        {}, description="Sizes of each depthwise convolution's kernel, by its name; 0 leaves it out."
    )
    expands: Annotated[tuple[Ratio, ...], Field(max_length=MAX_OPTIONS)] = Field(
        (), description="Ratios of middle channels."
    )
    heads: Annotated[tuple[Size, ...], Field(max_length=MAX_OPTIONS)] = Field(
        (), description="Numbers of attention heads."
    )
    kinds: Annotated[dict[KindName, Kind], Field(max_length=MAX_OPTIONS)] = Field(
        {}, description="Settings that are chosen together, by name, from the smallest to the largest."
    )
    strides: dict[str, Options] = Field(
        {}, description="Strides of a convolution of a stage's first block, by its name; descending."
    )

    @model_validator(mode="after")
    def _check(self) -> Block:
        for options in (*self.kernels.values(), self.expands, self.heads):
            ascending("options of a block", options)
        if self.kinds:
            self._check_kinds()
        return self

    def _check_kinds(self) -> None:
        if self.kernels or self.expands or self.heads:
            raise ValueError("kinds: a block has them instead of kernels, expands and heads; name those in each kind")
        if len(self.kinds) < 2:
            raise ValueError("kinds: give at least two to choose from")
        *_, (last, largest) = self.kinds.items()
        if largest.block:
            raise ValueError(f"kinds.{last} is another block; the last kind must be the block of the largest network")
        for name, kind in self.kinds.items():
            if kind.block and kind.settings:
                raise ValueError(f"kinds.{name} is another block; it cannot have {', '.join(kind.settings)} as well")
            if not kind.block and kind.settings.keys() != largest.settings.keys():
                raise ValueError(
                    f"kinds.{name} sets {', '.join(kind.settings) or 'nothing'}, and {last} "
                    f"{', '.join(largest.settings) or 'nothing'}; name the same things in each"
                )
            if above := [key for key, value in kind.settings.items() if value > largest.settings[key]]:
                raise ValueError(f"kinds.{name} has a larger {above[0]} than the last; put the largest of all there")
        for name, kind in self.kinds.items():
            same = next(other for other in self.kinds if self.kinds[other] == kind)
            if same != name:
                raise ValueError(f"kinds.{name} and {same} are one kind; leave one of them out")

    # -- genes ----------------------------------------------------------------------------------------------------

    def genes(self, role: str, stage: int, index: int) -> list[Gene]:
        """The genes of ``role`` that this block, ``index`` of ``stage``, has for itself."""
        if role == KIND:
            return [Gene(KIND, tuple(self.kinds), stage, index, self._kinds_are_ordered())] if self.kinds else []
        if role == "kernel":
            named = [(self.kernel_key(leaf), options) for leaf, options in self.kernels.items()]
            return [Gene("kernel", options, stage, index, name=key) for key, options in named if len(options) > 1]
        options = {"expand": self.expands, "heads": self.heads}[role]
        return [Gene(role, options, stage, index)] if len(options) > 1 else []

    def _kinds_are_ordered(self) -> bool:
        """Whether each kind has at least the settings of the kind before; another block may only be the first."""
        first, *others = self.kinds.values()
        kinds = others if first.block else [first, *others]
        if any(kind.block for kind in kinds):
            return False
        return all(one.settings[key] <= other.settings[key] for one, other in pairwise(kinds) for key in one.settings)

    @property
    def alternatives(self) -> list[int]:
        """The numbers of the kinds that are another block."""
        return [number for number, kind in enumerate(self.kinds.values()) if kind.block]

    def alternative(self, choices: Mapping[str, Any]) -> int | None:
        """The number of the kind that is chosen, if that is another block."""
        if not self.kinds or not self.kinds[choices[KIND]].block:
            return None
        return list(self.kinds).index(choices[KIND])

    # -- settings -------------------------------------------------------------------------------------------------

    def kernel_key(self, leaf: str) -> str:
        """The key of the gene that chooses the kernel of a depthwise convolution."""
        return "kernel" if len(self.kernels) == 1 else f"kernel_{leaf.removesuffix('.conv')}"

    @property
    def kernel_options(self) -> dict[str, tuple[int, ...]]:
        """The kernels of each depthwise convolution that has a choice, ascending, whichever gene chooses them."""
        if not self.kinds:
            return self.kernels
        *_, largest = self.kinds.values()
        return {
            leaf: tuple(sorted({kind.kernels[leaf] for kind in self.kinds.values() if not kind.block}))
            for leaf in largest.kernels
        }

    def chosen_kernels(self, choices: Mapping[str, Any]) -> dict[str, int]:
        """The kernel of each of these; of none where another block is chosen."""
        if self.kinds:
            return self.kinds[choices[KIND]].kernels
        return {leaf: choices.get(self.kernel_key(leaf), options[-1]) for leaf, options in self.kernels.items()}

    def values_of(self, role: str) -> tuple[float, ...]:
        """Expand ratios or heads, for each option of the gene that ``role_of`` names; empty where there is no choice.

        A kind that is another block has the smallest of them.
        """
        if not self.kinds:
            return {"expand": self.expands, "heads": self.heads}[role]
        values = [getattr(kind, role) for kind in self.kinds.values()]
        given = [value for value in values if value is not None]
        return tuple(min(given) if value is None else value for value in values) if given else ()

    def role_of(self, role: str) -> str:
        """The role of the gene that chooses the block's expand ratio or heads."""
        return KIND if self.kinds else role
