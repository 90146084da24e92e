"""Search spaces: a ``Genome`` whose networks can be built, and ``Subnet``, one of its networks for people and files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ofa.supernet import families
from ofa.supernet.genome import DTYPE, MAX_OPTIONS, Genome

# Far above every published network: what is larger is a slip of the pen, or meant to fill the memory.
MIN_RESOLUTION, MAX_RESOLUTION = 8, 2048

Resolution = Annotated[int, Field(ge=MIN_RESOLUTION, le=MAX_RESOLUTION)]
SOME = Field(min_length=1, max_length=MAX_OPTIONS)
# Each role of a gene, and the field of ``Subnet`` that holds what was chosen.
_FIELDS = {
    "resolution": "resolution",
    "depth": "depths",
    "kernel": "kernels",
    "expand": "expands",
    "width": "widths",
    "heads": "heads",
    "kind": "kinds",
    "stride": "strides",
}
TEXT_FIELDS = frozenset({"kinds"})  # those whose values are names; the others' are numbers
_REQUIRED = ("resolution", "depths")


@dataclass(frozen=True)
class Subnet:
    """One network of a space.

    Every list holds the values of all genes of one role, in the order of the space's genes: depths one a stage; kernels
    and expands one a block of the largest network, stage after stage, or kinds, names of settings that are chosen
    together. Values of blocks that ``depths`` switches off mean nothing and are each block's first option in canonical
    form. Roles that a space lacks are empty.
    """

    resolution: int
    depths: tuple[int, ...]
    kernels: tuple[int, ...] = ()
    expands: tuple[float, ...] = ()
    widths: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    strides: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values; empty lists are left out."""
        lists = {name: list(values) for name, values in self._lists()}
        return {"resolution": self.resolution, **{name: values for name, values in lists.items() if values}}

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Subnet:
        """Raises ``ValueError`` that names the missing or unknown key."""
        wrong = sorted((set(_REQUIRED) - set(values)) | (set(values) - set(_FIELDS.values())))
        if wrong:
            raise ValueError(
                f"a subnet has the keys {', '.join(_REQUIRED)}, and of {', '.join(list(_FIELDS.values())[2:])} those "
                f"that its space has; missing or unknown: {wrong}"
            )
        return cls(**{name: value if name == "resolution" else tuple(value) for name, value in values.items()})

    @classmethod
    def from_json(cls, text: str) -> Subnet:
        return cls.from_dict(json.loads(text))

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that name this network; equal for equal canonical subnets on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

    def _lists(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        return ((name, getattr(self, name)) for name in self.__dataclass_fields__ if name != "resolution")


class BlockPosition(NamedTuple):
    """The place of a block in the largest network: ``index`` counts within its stage, ``in_channels`` it reads."""

    stage: int
    index: int
    in_channels: int


class BlockShape(NamedTuple):
    """A block of one subnet: channels that it reads, has in its middle and gives; sides of the maps it reads, gives."""

    position: BlockPosition
    in_channels: int
    mid_channels: int
    out_channels: int
    in_side: int
    out_side: int


class PartColumns(NamedTuple):
    """Which columns of a code choose something of each part of a network, by the keys of their genes.

    Resolution and depths are left out. One gene may be of several parts: a stage's width is chosen for its blocks, and
    for the block after them, which reads them.
    """

    stem: dict[str, int]
    blocks: tuple[dict[str, int], ...]
    head: dict[str, int]


class PartChoices(NamedTuple):
    """What a subnet chooses of each part, in the order of ``PartColumns``: values by the keys of their genes."""

    stem: dict[str, Any]
    blocks: dict[tuple[int, int], dict[str, Any]]  # by stage and index
    head: dict[str, Any]


class Section(BaseModel):
    """A part of a layout; values that it does not know are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def space_class_of(values: Any) -> type[SearchSpace]:
    """The class of the family that ``values``, meant as a whole space, name; of the default one if they name none."""
    name = values.get("family") if isinstance(values, dict) else None
    return families.space_class(name if name in families.names() else families.DEFAULT)


def _of_its_family(values: Any, info: ValidationInfo) -> SearchSpace:
    """The space of the class of its family. JSON is read strictly, as the rest of a recipe is."""
    if isinstance(values, SearchSpace):
        return values
    if isinstance(values, dict) and "timm" in values and "family" not in values:
        values = families.derived_space(values)
    if isinstance(values, dict) and (name := values.get("family", families.DEFAULT)) not in families.names():
        known = " or ".join(map(repr, families.names()))
        wrong = PydanticCustomError("family", f"Input should be {known}")
        details = {"type": wrong, "loc": ("family",), "input": name}
        raise ValidationError.from_exception_data("SearchSpace", [details])
    kind = space_class_of(values)
    if info.mode == "json":
        return kind.model_validate_json(json.dumps(values), strict=True)
    return kind.model_validate(values)


class SearchSpace(Genome, BaseModel):
    """The choices of a family of networks. ``SearchSpace.from_dict`` gives the class of the family that is named.

    Attributes:
        family: the name of its folder in ``supernet/families``.
        resolutions: sides of the square images, ascending.
        timm_class: the class of timm that its networks are of.
        shrinking: roles in the order in which progressive shrinking opens them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    timm_class: ClassVar[str]
    shrinking: ClassVar[tuple[str, ...]]

    family: str
    resolutions: Annotated[tuple[Resolution, ...], SOME] = Field(
        description="Sides of the square images to choose from, in pixels, ascending."
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        if BaseModel not in source.__bases__:  # a family's own class
            return handler(source)
        dumped = core_schema.plain_serializer_function_ser_schema(
            lambda space, info: space.model_dump(mode=info.mode), info_arg=True
        )
        return core_schema.with_info_plain_validator_function(_of_its_family, serialization=dumped)

    @classmethod
    def preset(cls, name: str) -> SearchSpace:
        """A published space by name (``ofa spaces`` lists them). Raises ``KeyError`` naming the known ones."""
        known = families.presets()
        if name not in known:
            raise KeyError(f"no space is called {name!r}; there are {', '.join(known)}")
        return cls.from_dict(known[name])

    @classmethod
    def from_timm(cls, name: str, *, arguments: dict[str, Any] | None = None, **elastic: Any) -> SearchSpace:
        """The space whose largest network is the model ``timm.create_model(name, **arguments)``.

        ``elastic`` narrows what may be chosen: see ``ofa.supernet.derived.derive.Elastic``. Raises ``ValueError`` for a
        model that timm or no family knows, and for options that it does not have.
        """
        return cls.from_dict({"timm": name, "arguments": arguments or {}, **elastic})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SearchSpace:
        """Raises ``pydantic.ValidationError`` naming key and value."""
        return cls.model_validate(values)

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    # -- what a family supplies, besides ``genes`` ----------------------------------------------------------------

    @property
    def blocks(self) -> tuple[BlockPosition, ...]:
        """Every block of the largest network, in order."""
        raise NotImplementedError

    @property
    def operators(self) -> frozenset[str]:
        """What its networks ask of a runtime: ``"squeeze_excite"`` and such, and names of activation functions."""
        raise NotImplementedError

    def sizes(self, resolution: int) -> tuple[int, ...]:
        """Side of the square feature map that each block of the largest network reads, and last that its head reads."""
        raise NotImplementedError

    def strided_sizes(self, resolution: int, strides: Mapping[str, int]) -> tuple[int, ...]:
        """As ``sizes``, of networks with other ``strides``, by the keys of their genes: of a family that has such."""
        return self.sizes(resolution)

    def shapes(self, subnet: Subnet) -> tuple[BlockShape, ...]:
        """The blocks of ``subnet`` that run, in order."""
        raise NotImplementedError

    @property
    def part_columns(self) -> PartColumns:
        """Which genes each part depends on: unless a family says otherwise, each block on its own, the ends on none."""
        blocks = tuple(
            {self.genes[column].key: column for column in self.genes_of_block(block.stage, block.index)}
            for block in self.blocks
        )
        return PartColumns({}, blocks, {})

    def sizes_of(self, subnet: Subnet) -> tuple[int, ...]:
        """Side of the map that each block of ``subnet`` reads, and last that its head reads."""
        genes = [self.genes[column] for column in self.genes_of("stride").tolist()]
        strides = {gene.key: stride for gene, stride in zip(genes, subnet.strides, strict=True)}
        return self.strided_sizes(subnet.resolution, strides)

    def replaced(self, subnet: Subnet) -> dict[str, str]:
        """By their names in the model, the blocks of ``subnet`` that another block stands for, and that one's name in
        the elastic model; empty unless a family has such blocks."""
        return {}

    # -- one subnet -----------------------------------------------------------------------------------------------

    def decode(self, code: np.ndarray) -> Subnet:
        """The canonical subnet of one code ``(genes,)``."""
        values = super().decode(code)
        chosen = {
            field: tuple(values[column] for column in self.genes_of(role).tolist()) for role, field in _FIELDS.items()
        }
        return Subnet(**{**chosen, "resolution": chosen["resolution"][0]})

    def encode(self, subnet: Subnet) -> np.ndarray:
        """The canonical code ``(genes,)``. Raises ``ValueError`` naming the gene that is not of this space."""
        for role, field in _FIELDS.items():
            expected = len(self.genes_of(role))
            if role != "resolution" and len(getattr(subnet, field)) != expected:
                raise ValueError(f"{field} has {len(getattr(subnet, field))} values; this space has {expected}")
        code = np.empty(self.num_genes, DTYPE)
        for role, field in _FIELDS.items():
            values = (subnet.resolution,) if role == "resolution" else getattr(subnet, field)
            for number, (value, column) in enumerate(zip(values, self.genes_of(role).tolist(), strict=True)):
                options = self.genes[column].options
                if value not in options:
                    name = field if role == "resolution" else f"{field}[{number}]"
                    raise ValueError(f"{name} is {value}; this space allows {list(options)}")
                code[column] = options.index(value)
        return self.canonical(code[None])[0]

    def choices(self, subnet: Subnet) -> PartChoices:
        """What is chosen of each part; of the blocks that do not run, too."""
        values = self._values(subnet)

        def of(columns: dict[str, int]) -> dict[str, Any]:
            return {key: values[column] for key, column in columns.items()}

        columns = self.part_columns
        blocks = {(block.stage, block.index): of(own) for block, own in zip(self.blocks, columns.blocks, strict=True)}
        return PartChoices(of(columns.stem), blocks, of(columns.head))

    def _values(self, subnet: Subnet) -> list[Any]:
        """The value of each gene, in their order."""
        lists = {role: iter(getattr(subnet, field)) for role, field in _FIELDS.items() if role != "resolution"}
        return [subnet.resolution if gene.role == "resolution" else next(lists[gene.role]) for gene in self.genes]


def ascending(name: str, values: tuple[float, ...]) -> None:
    """Raises ``ValueError`` for options that are not in order, or twice there."""
    if list(values) != sorted(set(values)):
        raise ValueError(f"{name} {list(values)} must be ascending and without repeats")
