"""Search spaces: which networks there are, as values.

A *code* is a row of small integers, one per gene: the index of the chosen option. A population is an array of codes
``(n, genes)``, and every function over subnets takes that array. ``Subnet`` is the same thing for people and files.

Genes, in order: resolution; depth of each stage; kernel of each block slot; expand ratio of each block slot.
Genes of blocks that the depth switches off are 0 (*canonical form*), so that one network has exactly one code.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ofa.supernet.integers import ceil_div

DTYPE = np.int8

# Far above every published network of this kind: what is larger is a slip of the pen, or meant to fill the memory.
MIN_RESOLUTION, MAX_RESOLUTION = 8, 2048
MAX_WIDTH = 16_384  # channels
MAX_DEPTH = 32  # blocks of a stage
MAX_STAGES = 32
MAX_SLOTS = 128  # blocks of the largest network
MAX_OPTIONS = int(np.iinfo(DTYPE).max)  # of one choice
MAX_TABLE = 100_000  # blocks of all kinds at all resolutions: the entries of a cost table
MAX_PARAMETERS = 300_000_000

Stride = Annotated[int, Field(ge=1, le=2)]
Kernel = Annotated[int, Field(ge=1, le=31)]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Depth = Annotated[int, Field(ge=1, le=MAX_DEPTH)]
Resolution = Annotated[int, Field(ge=MIN_RESOLUTION, le=MAX_RESOLUTION)]
# 3.0 becomes 3, so that one network is written one way. Smaller ratios would need an exponent in CSV files.
Ratio = Annotated[
    float, Field(ge=0.01, le=100), AfterValidator(lambda value: int(value) if value == int(value) else value)
]
_SOME = Field(min_length=1, max_length=MAX_OPTIONS)
Activation = Literal["relu", "relu6", "hard_swish", "swish"]


def mid_width(in_width: int, expand: float, divisor: int = 8) -> int:
    """Channels of a block's middle: timm's ``make_divisible``, restated because timm imports torch."""
    wished = in_width * expand
    width = max(divisor, int(wished + divisor / 2) // divisor * divisor)
    return width + divisor if width < 0.9 * wished else width


@dataclass(frozen=True)
class Subnet:
    """One network of a space.

    ``kernels`` and ``expands`` hold one value per block slot of the largest network, stage after stage; values of slots
    that ``depths`` switches off mean nothing and are each slot's first option in canonical form.
    """

    resolution: int
    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expands: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Subnet:
        """Raises ``ValueError`` that names the missing or unknown key."""
        expected = set(cls.__dataclass_fields__)
        if set(values) != expected:
            wrong = sorted(set(values) ^ expected)
            raise ValueError(f"a subnet has exactly the keys {sorted(expected)}; missing or unknown: {wrong}")
        return cls(values["resolution"], *(tuple(values[key]) for key in ("depths", "kernels", "expands")))

    @classmethod
    def from_json(cls, text: str) -> Subnet:
        return cls.from_dict(json.loads(text))

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that name this network; equal for equal canonical subnets on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]


class Slot(NamedTuple):
    """A block slot: the place of one elastic block in the largest network. ``index`` counts within its stage."""

    stage: int
    index: int
    in_width: int


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stem(_Part):
    """The fixed beginning: a 3x3 convolution of ``stride``, then one depthwise separable block of ``first_width``."""

    width: Width = 16
    stride: Stride = 2
    first_width: Width = 16
    first_act: Activation = "relu"


class Stage(_Part):
    """Blocks of one width; the first has ``stride``. Options are ascending."""

    width: Width
    stride: Stride = 1
    depths: Annotated[tuple[Depth, ...], _SOME] = (2, 3, 4)
    kernels: Annotated[tuple[Kernel, ...], _SOME] = (3, 5, 7)
    expands: Annotated[tuple[Ratio, ...], _SOME] = (3, 4, 6)
    act: Activation = "relu"
    se: bool = False

    @model_validator(mode="after")
    def _check(self) -> Stage:
        for name in ("depths", "kernels", "expands"):
            _ascending(name, getattr(self, name))
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels {list(self.kernels)}: only odd kernel sizes keep the image centred")
        return self


class Head(_Part):
    """The fixed end: 1x1 convolution to ``width``, average pool, 1x1 convolution to ``features``, linear classifier."""

    width: Width = 960
    features: Width = 1280


class SearchSpace(_Part):
    """The choices: resolution, and per stage depth, kernel and expand ratio.

    The layout follows "Once-for-All" (https://arxiv.org/abs/1908.09791): a stage keeps its first ``depth`` blocks.
    """

    family: Literal["mobilenetv3"] = "mobilenetv3"
    resolutions: Annotated[tuple[Resolution, ...], _SOME]
    stem: Stem = Stem()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=MAX_STAGES)]
    head: Head = Head()
    act: Activation = "hard_swish"  # of stem and head

    @model_validator(mode="after")
    def _check(self) -> SearchSpace:
        _ascending("resolutions", self.resolutions)
        if len(self.slots) > MAX_SLOTS:
            raise ValueError(f"the largest network has {len(self.slots)} blocks; there may be {MAX_SLOTS}")
        self._check_amounts()
        strides = math.prod(stage.stride for stage in self.stages)
        if strides > 16:
            raise ValueError(f"the stages' strides multiply to {strides}; timm's MobileNetV3 allows at most 16")
        if self.resolutions[0] < strides * self.stem.stride:
            raise ValueError(
                f"resolution {self.resolutions[0]} is below the network's total stride {strides * self.stem.stride}"
            )
        for slot in self.slots:
            expands = self.stages[slot.stage].expands
            widths = [mid_width(slot.in_width, expand) for expand in expands]
            if len(set(widths)) < len(widths):
                raise ValueError(
                    f"stages.{slot.stage}: expand ratios {list(expands)} of {slot.in_width} channels round to the "
                    f"widths {widths}, so two of them are one network; spread the ratios"
                )
        return self

    def _check_amounts(self) -> None:
        """Raises ``ValueError`` for more kinds of blocks, or larger networks, than fit in memory."""
        kernels, expands = (max(len(getattr(stage, name)) for stage in self.stages) for name in ("kernels", "expands"))
        kinds = len(self.resolutions) * len(self.slots) * kernels * expands
        if kinds > MAX_TABLE:
            raise ValueError(f"{kinds:,} kinds of blocks, resolutions counted; there may be {MAX_TABLE:,}")
        head = self.head
        total = self.stages[-1].width * head.width + head.width * head.features
        for slot in self.slots:
            stage = self.stages[slot.stage]
            mid = mid_width(slot.in_width, stage.expands[-1])
            total += mid * (slot.in_width + stage.width + stage.kernels[-1] ** 2 + stage.se * mid // 2)
        if total > MAX_PARAMETERS:
            raise ValueError(f"the largest network has {total:,} weights; there may be {MAX_PARAMETERS:,}")

    @classmethod
    def preset(cls, name: str) -> SearchSpace:
        """A published space by name (``ofa spaces`` lists them). Raises ``KeyError`` naming the known ones."""
        from ofa.supernet.presets import PRESETS

        if name not in PRESETS:
            raise KeyError(f"no space is called {name!r}; there are {', '.join(PRESETS)}")
        return cls.from_dict(PRESETS[name])

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SearchSpace:
        """Raises ``pydantic.ValidationError`` naming key and value."""
        return cls.model_validate(values)

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    # -- layout ---------------------------------------------------------------------------------------------------

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Every block slot of the largest network, in order."""
        slots, width = [], self.stem.first_width
        for number, stage in enumerate(self.stages):
            for index in range(stage.depths[-1]):
                slots.append(Slot(number, index, width))
                width = stage.width
        return tuple(slots)

    def sizes(self, resolution: int) -> tuple[int, ...]:
        """Side of the square feature map that each block slot reads, and last that the head reads."""
        size = ceil_div(resolution, self.stem.stride)
        sizes = []
        for slot in self.slots:
            sizes.append(size)
            if slot.index == 0:
                size = ceil_div(size, self.stages[slot.stage].stride)
        return (*sizes, size)

    @cached_property
    def options(self) -> tuple[tuple[float, ...], ...]:
        """The values that each gene chooses from."""
        slot_stages = [self.stages[slot.stage] for slot in self.slots]
        return (
            self.resolutions,
            *(stage.depths for stage in self.stages),
            *(stage.kernels for stage in slot_stages),
            *(stage.expands for stage in slot_stages),
        )

    @property  # not cached: equality of spaces compares what is cached, and arrays have none
    def option_counts(self) -> np.ndarray:
        """Number of options of each gene ``(genes,)``."""
        return np.array([len(options) for options in self.options])

    @property
    def genes(self) -> int:
        return len(self.options)

    @cached_property
    def depth_genes(self) -> slice:
        return slice(1, 1 + len(self.stages))

    @cached_property
    def kernel_genes(self) -> slice:
        return slice(self.depth_genes.stop, self.depth_genes.stop + len(self.slots))

    @cached_property
    def expand_genes(self) -> slice:
        return slice(self.kernel_genes.stop, self.kernel_genes.stop + len(self.slots))

    @cached_property
    def size(self) -> int:
        """Exact number of distinct networks, resolution counted as part of the network."""
        per_stage = [
            sum((len(stage.kernels) * len(stage.expands)) ** depth for depth in stage.depths) for stage in self.stages
        ]
        return len(self.resolutions) * math.prod(per_stage)

    # -- populations ----------------------------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator, *, lowest: np.ndarray | None = None) -> np.ndarray:
        """``n`` canonical codes ``(n, genes)``, every gene drawn uniformly.

        ``lowest`` ``(genes,)`` is the smallest option index that each gene may take (training opens options from the
        largest down); default 0.
        """
        low = np.zeros(self.genes, int) if lowest is None else lowest
        return self.canonical(rng.integers(low, self.option_counts, size=(n, self.genes)).astype(DTYPE))

    def active(self, codes: np.ndarray) -> np.ndarray:
        """Which block slots run: boolean ``(n, slots)``."""
        stage_of_slot = [slot.stage for slot in self.slots]
        index_in_stage = np.array([slot.index for slot in self.slots])
        depths = np.stack(
            [np.array(stage.depths)[codes[:, 1 + number]] for number, stage in enumerate(self.stages)], axis=1
        )
        return index_in_stage < depths[:, stage_of_slot]

    def canonical(self, codes: np.ndarray) -> np.ndarray:
        """The same networks with the genes of inactive blocks set to 0; a new array."""
        on = self.active(codes)
        result = codes.copy()
        result[:, self.kernel_genes] *= on
        result[:, self.expand_genes] *= on
        return result

    def one_hot(self, codes: np.ndarray) -> np.ndarray:
        """Float32 ``(n, sum of option counts)``; genes of inactive blocks are all zero."""
        live = np.ones(codes.shape, bool)
        live[:, self.kernel_genes] = live[:, self.expand_genes] = self.active(codes)
        counts = self.option_counts
        result = np.zeros((len(codes), counts.sum()), np.float32)
        result[np.arange(len(codes))[:, None], np.cumsum(counts) - counts + codes] = live
        return result

    # -- one subnet -----------------------------------------------------------------------------------------------

    def decode(self, code: np.ndarray) -> Subnet:
        """The canonical subnet of one code ``(genes,)``."""
        code = self.canonical(np.asarray(code, DTYPE)[None])[0]
        values = [options[index] for options, index in zip(self.options, code, strict=True)]
        return Subnet(
            values[0],
            tuple(values[self.depth_genes]),
            tuple(values[self.kernel_genes]),
            tuple(values[self.expand_genes]),
        )

    def encode(self, subnet: Subnet) -> np.ndarray:
        """The canonical code ``(genes,)``. Raises ``ValueError`` naming the gene that is not of this space."""
        stages, slots = len(self.stages), len(self.slots)
        lengths = {"depths": stages, "kernels": slots, "expands": slots}
        for name, length in lengths.items():
            if len(getattr(subnet, name)) != length:
                raise ValueError(f"{name} has {len(getattr(subnet, name))} values; this space has {length}")
        values = (subnet.resolution, *subnet.depths, *subnet.kernels, *subnet.expands)
        names = ["resolution", *(f"{name}[{i}]" for name, length in lengths.items() for i in range(length))]
        code = np.empty(self.genes, DTYPE)
        for gene, (value, options) in enumerate(zip(values, self.options, strict=True)):
            if value not in options:
                raise ValueError(f"{names[gene]} is {value}; this space allows {list(options)}")
            code[gene] = options.index(value)
        return self.canonical(code[None])[0]

    @property
    def smallest(self) -> Subnet:
        return self.decode(np.zeros(self.genes, DTYPE))

    @property
    def largest(self) -> Subnet:
        return self.decode((self.option_counts - 1).astype(DTYPE))


def _ascending(name: str, values: tuple[float, ...]) -> None:
    if list(values) != sorted(set(values)):
        raise ValueError(f"{name} {list(values)} must be ascending and without repeats")
