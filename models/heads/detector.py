"""Cascade Mask R-CNN: backbone, feature pyramid (arXiv 1612.03144), proposals and cascade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork, remove_small_boxes
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from models.heads.boxes import Size
from models.heads.cascade import CascadeHeads
from models.heads.proposals import ProposalNetwork
from models.heads.settings import CascadeSettings, ProposalSettings

SMALLEST = 1e-3
"""True boxes with a shorter side, in pixels, have no area to speak of: no offset takes another box
to them.
"""


class Detector(nn.Module):
    """Finds objects, their boxes and masks."""

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        proposals: ProposalSettings,
        cascade: CascadeSettings,
    ) -> None:
        """`backbone` gives four maps at strides 4 to 32 and has `channels`."""
        super().__init__()
        self.backbone = backbone
        self.pyramid = FeaturePyramidNetwork(
            list(backbone.channels),  # type: ignore[arg-type]
            cascade.fpn_channels,
            extra_blocks=LastLevelMaxPool(),
        )

        for layer in self.pyramid.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)

        self.proposals = ProposalNetwork(cascade.fpn_channels, proposals)
        self.heads = CascadeHeads(num_classes, cascade)

    def forward(
        self,
        images: Tensor,
        sizes: Sequence[Size],
        targets: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses if there are targets, else detections.

        Regions are sampled with torch's global generators. Boxes and losses are float32 also under
        autocast.

        Args:
            images: (B, 3, H, W), normalised, zeros beyond each image's valid part.
            sizes: (height, width) in pixels of each valid part, at the upper left.
            targets: for each image `boxes` (N, 4) float, (x1, y1, x2, y2) in pixels, `labels` (N,)
                int64 from 0, and `masks` (N, H, W) uint8 or bool; N may be 0, and boxes without an
                area are left out. `masked` (N,) bool says which objects have a mask, where some
                have a box alone: these have no part in mask losses.

        Returns:
            With targets, weighted scalar losses by name, to be added up. Without, for each image at
            most `cascade.detections`, best first: `boxes` (K, 4) inside the valid part, `labels`
            (K,), `scores` (K,), and `masks` (K, S, S), the probabilities of the class over the box,
            for `paste`.
        """
        maps = self._maps(images)
        if targets is None:
            proposals, _ = self.proposals(maps, sizes, None)
            return self.heads.detect(maps, proposals, sizes)
        targets = [_with_area(target) for target in targets]
        proposals, losses = self.proposals(maps, sizes, [target["boxes"] for target in targets])
        return {**losses, **self.heads.losses(maps, proposals, sizes, targets)}

    def _maps(self, images: Tensor) -> list[Tensor]:
        """Five maps of one width at strides 4 to 64."""
        maps = {str(level): values for level, values in enumerate(self.backbone(images))}
        return list(self.pyramid(maps).values())

    def fixed_work(self, images: Tensor) -> None:
        """Run what an image costs in layers at test, whatever is in it: all proposals and
        detections are there.
        """
        maps = self._maps(images)
        self.proposals.head(maps)
        self.heads.fixed_work(
            images, self.proposals.settings.kept_test, self.heads.settings.detections
        )


def _with_area(target: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the target without boxes that have no area, in float32."""
    boxes = target["boxes"].float()
    kept = remove_small_boxes(boxes, SMALLEST)
    return {
        "boxes": boxes[kept],
        **{key: target[key][kept] for key in ("labels", "masks", "masked") if key in target},
    }
