"""One row of the comparison: a mixer in a size, and what differs from the task's recipe."""

import ast
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models.network.sizes import SIZES
from pipeline.core.errors import nearest
from pipeline.params.section import Name, Positive, Section, Seeds

MIXERS = Path(__file__).parents[2] / "models" / "mixers"
MIXER_FIELDS = (
    "kernel_size",
    "groups",
    "group_channels",
    "skeleton",
    "norm",
    "projection_norm",
    "se",
    "shift",
    "position_bias",
    "shared_windows",
    "row_bias",
)
"""Fields of a variant that are options of its mixer."""
LAYOUT_FIELDS = ("embed_dim", "depths", "num_heads", "mlp_ratio", "drop_path_rate")
"""Fields of a variant that every mixer's network has."""


def mixer_options(mixer: str) -> list[str]:
    """Return the options of a mixer, read from its file without importing it, which would import
    torch.
    """
    tree = ast.parse((MIXERS / f"{mixer}.py").read_text())
    blocks = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "block"
    ]
    return [argument.arg for block in blocks for argument in block.args.kwonlyargs]


class Variant(Section):
    """One row of the comparison: a mixer in a size, and what differs from the task's recipe.

    The options of the paper's ablations are fields; `options` holds those that a mixer of your own
    has besides.
    """

    mixer: Name
    """File of models/mixers that mixes neighbours; timm: any network of timm's."""
    size: Literal["micro", "tiny", "small", "base"] | None = None
    """Channels and depths of the network."""
    timm_name: str | None = None
    """timm: the network's name there."""
    kernel_size: Positive | None = None
    """Side of the neighbourhood, pixels of the feature map; odd."""
    groups: Positive | None = None
    """Parts of the channels; those of a part share weights."""
    group_channels: Positive | None = None
    """Channels that share a weight, in place of `groups`."""
    skeleton: Literal["attention", "depthwise"] | None = None
    """What stands around the mixing: projections as in attention, or as in a depth-wise block."""
    norm: Literal["ln", "bn"] | None = None
    """Layer norm or batch norm."""
    projection_norm: bool | None = None
    """Normalise after the projections too."""
    se: bool | None = None
    """Squeeze-and-excitation of the channels."""
    shift: bool | None = None
    """Shift every second layer's windows."""
    position_bias: bool | None = None
    """Learned bias by relative position."""
    shared_windows: bool | None = None
    """One set of weights for all windows."""
    row_bias: bool | None = None
    """A learned number added to every sum of the local MLP."""
    options: dict[Name, Any] = Field(default_factory=dict)
    """Options of a mixer of your own."""
    embed_dim: Positive | None = None
    """Channels of the first stage."""
    depths: tuple[Positive, Positive, Positive, Positive] | None = None
    """Blocks of the four stages."""
    num_heads: tuple[Positive, Positive, Positive, Positive] | None = None
    """Heads of the four stages."""
    mlp_ratio: Annotated[float, Field(gt=0)] | None = None
    """Hidden channels of the feed-forward network, in channels."""
    drop_path_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Probability that the last block is skipped in training."""
    seeds: Seeds | None = None
    """Seeds of this variant; null: the task's."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """What differs from the task's recipe, under the same keys."""

    @model_validator(mode="after")
    def consistent(self) -> Self:
        """Check what can be checked without building the model."""
        if (self.mixer == "timm") != (self.timm_name is not None):
            raise ValueError(
                "timm_name goes with `mixer: timm`, and `mixer: timm` needs a timm_name"
            )
        if self.timm_name is not None and not re.fullmatch(r"[\w.-]+", self.timm_name):
            raise ValueError(
                f"timm_name '{self.timm_name}' names a place to load from; give the name of one of "
                "timm's own models, such as resnet50"
            )
        if self.mixer != "timm" and self.size is None:
            raise ValueError(f"size is missing; one of {', '.join(SIZES)}")
        if self.kernel_size is not None and self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size {self.kernel_size} is even; a kernel needs a centre, so an odd size"
            )
        if self.groups is not None and self.group_channels is not None:
            raise ValueError("groups and group_channels say the same thing twice; keep one")
        if self.num_heads is not None and (self.groups or self.group_channels) is not None:
            raise ValueError(
                "num_heads and groups or group_channels say the same thing twice; keep one"
            )

        mixers = [path.stem for path in MIXERS.glob("[a-z]*.py")]
        if self.mixer not in mixers:
            raise ValueError(f"there is no mixer '{self.mixer}'; {nearest(self.mixer, mixers)}")
        if self.mixer != "timm":
            self._refuse_options_of_others()

        dim = self.embed_dim or (SIZES[self.size].embed_dim if self.size else 0)
        for name in ("groups", "group_channels"):
            value = getattr(self, name)
            if value is not None and dim % value:
                raise ValueError(
                    f"{name} {value} does not divide the {dim} channels of the first stage"
                )

        if self.mlp_ratio is not None and dim and self.mlp_ratio * dim < 1:
            raise ValueError(
                f"mlp_ratio {self.mlp_ratio} leaves the {dim} channels of the first stage no "
                "hidden one"
            )
        return self

    def _refuse_options_of_others(self) -> None:
        taken = mixer_options(self.mixer)
        for name in [
            *(name for name in MIXER_FIELDS if getattr(self, name) is not None),
            *self.options,
        ]:
            if name not in taken:
                raise ValueError(f"{self.mixer} has no option {name}; {nearest(name, taken)}")

        for name in self.options:
            if name in MIXER_FIELDS:
                raise ValueError(
                    f"options.{name} has a place of its own; write {name} beside mixer"
                )

    @property
    def model_name(self) -> str:
        """The name that `models.create_model` knows."""
        return f"timm:{self.timm_name}" if self.mixer == "timm" else f"{self.mixer}_{self.size}"

    @property
    def overrides(self) -> dict[str, Any]:
        """What differs from the named model, as keyword arguments of `models.create_model`."""
        names = (*MIXER_FIELDS, *LAYOUT_FIELDS)
        return {
            name: getattr(self, name) for name in names if getattr(self, name) is not None
        } | self.options
