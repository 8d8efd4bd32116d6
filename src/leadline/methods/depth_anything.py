"""Depth Anything: a vision transformer with a dense head, trained mostly on pseudo-labels (Yang et al.).

V1 (CVPR 2024): affine disparity; the head reads the encoder's last four layers.
V2 (NeurIPS 2024): the same network, read at four depths of the encoder; labels are synthetic only.
V2 metric: its fine-tuned variants, depth in metres up to a fixed end (Hypersim 20, Virtual KITTI 80).

The picture's way in and back is the authors': short side 518, both sides multiples of 14, OpenCV's bicubic.
The network is transformers'. It differs from theirs in one detail: where a picture is not 518x518, position
embeddings are interpolated to its exact size, not with an offset of 0.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from leadline import cards, coding, losses, presets
from leadline.cards import Card
from leadline.data.sample import Batch
from leadline.errors import DataError, WeightsError, check_shape
from leadline.losses import Loss
from leadline.networks import depth_anything as networks
from leadline.prediction import Kind
from leadline.presets import Preset
from leadline.sizes import SizeRule

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours in [0,1]
NEAREST_M = 0.001  # code, metric: nearer depths are not trained on

V1 = SizeRule(
    518, edge="short", rounding="cover", multiple=14, filter="bicubic", antialias=False, filter_out="bilinear"
)
AUTHORS = {1: V1, 2: replace(V1, corners_out=True)}  # their code, by version
# transformers' image processor, but for 8-bit overshoots that it cuts between rows and columns too
PROCESSOR = SizeRule(518, edge="closest", rounding="multiple", multiple=14, filter="bicubic", quantise=True)
PRESETS = {  # by version; disparity has no upper bound: each map is stretched to [0,1]
    version: {
        "leadline": Preset("leadline", rule, stretch=True),
        "transformers": Preset("transformers", PROCESSOR, stretch=True),
    }
    for version, rule in AUTHORS.items()
}


class Config(presets.Config):
    """What distinguishes one Depth Anything model from another. Defaults are V2's small relative model."""

    encoder: Literal["small", "base", "large"] = "small"
    version: Literal[1, 2] = 2
    max_depth_m: int | None = Field(None, ge=1)  # metric: the end of its range; None: relative
    gradient_weight: float = 2.0  # V2, Sec. 7.1: L_ssi : L_gm = 1 : 2; V1: 0
    network: dict[str, Any] = Field({}, exclude=True)  # random weights: what differs from the published ones

    @property
    def presets(self) -> Mapping[str, Preset]:
        """The ways in and back that `compat` names: the authors' or that of transformers' processor."""
        return PRESETS[self.version]

    @property
    def kind(self) -> Kind:
        """Of the values."""
        return Kind.affine_disparity if self.max_depth_m is None else Kind.metric_depth

    def architecture(self) -> dict[str, Any]:
        """The network's configuration, in the words of transformers."""
        published = networks.architecture(self.encoder, self.version, self.max_depth_m)
        backbone = published["backbone_config"] | self.network.get("backbone_config", {})
        return published | self.network | {"backbone_config": backbone}


class DepthAnything(nn.Module):
    """RGB in, disparity or metres out, in one pass. card: what the weights are."""

    presets: ClassVar = PRESETS[2]

    def __init__(self, config: Config, network: nn.Module, card: Card | None = None) -> None:
        super().__init__()
        self.config, self.network, self.kind = config, network, config.kind
        self.card = card or Card(name="untitled", method="depth-anything", kind=self.kind)
        self.preset = config.preset
        self.steps: int | None = None
        self.members: int | None = None
        self._check_kind()

    @property
    def size_rule(self) -> SizeRule:
        """How pictures come in and go back; sides are multiples of the encoder's patch."""
        return self.preset.size.in_multiples(networks.patch(self.network))

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: object = None,
        text: object = None,
    ) -> dict[str, Tensor]:
        """RGB [B,3,h,w] in [-1,1], or a little beyond as resizing leaves it -> one map of the same size.

        "disparity" [B,1,h,w], 0 or more, larger is nearer; metric models: "depth" [B,1,h,w] in metres, from 0
        to the end of the model's range. Noise, camera and text are not used.
        """
        check_shape(rgb, "B 3 h w", "rgb")
        mean, std = (rgb.new_tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
        x = ((rgb + 1) / 2 - mean) / std  # [B,3,h,w]
        value = self.network(pixel_values=x).predicted_depth.unsqueeze(1)  # [B,1,h,w]
        return {"disparity" if self.kind is Kind.affine_disparity else "depth": value}

    def for_prediction(self, steps: int | None = None) -> Self:
        """Itself: it has no other way."""
        return self

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """The objective on one batch, in float32: V2's for the kind of the model. It draws no numbers.

        Another model's words count where they are of this model's kind. Raises DataError if the batch has
        neither them nor depth.
        """
        said = batch.said(self.kind)
        if said is None and batch.depth_m is None:
            raise DataError("the batch has no depth, which Depth Anything needs: choose other data")
        (pred,) = self(batch.rgb).values()
        if self.config.max_depth_m is None:
            wanted, valid = self._disparity(batch, said)
            return losses.midas(pred.float(), wanted, valid, self.config.gradient_weight)
        depth_m = batch.depth_m if said is None else said
        assert depth_m is not None
        known = batch.valid & (depth_m >= NEAREST_M) & (depth_m <= self.config.max_depth_m)
        total = silog(pred.float(), depth_m, known)  # several processes take its root one by one
        return Loss(total, {"silog": total.detach()}, known.sum())

    def _disparity(self, batch: Batch, said: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is compared with [B,1,h,w], and where: a teacher's words, or the truth's disparity."""
        if said is not None:
            return said, batch.valid
        assert batch.depth_m is not None
        return coding.disparity(batch.depth_m, batch.valid)

    def _check_kind(self) -> None:
        built = networks.max_depth_m(self.network)
        if built != self.config.max_depth_m:
            raise WeightsError(
                f"the network's range ends at {built} m, its card's at {self.config.max_depth_m} m "
                "(None: relative): use the card of these weights"
            )
        if self.card.kind is not self.kind:
            raise WeightsError(
                f"the card says {self.card.kind}, its config makes {self.kind}: metric models set max_depth_m"
            )

    @classmethod
    def random(cls, config: Config, seed: int = 0) -> Self:
        """From nothing: the network that the config describes, with weights drawn from the seed."""
        return cls(config, networks.build(config.architecture(), seed))

    @classmethod
    def load(cls, folder: Path, card: Card | None = None, **options: Any) -> Self:
        """A folder in transformers' layout, or one with the authors' .pth file, in float32.

        `options` replace entries of the card's config; `card` is for folders that have no card.yaml. Raises
        WeightsError or DocumentError, one line.
        """
        card = card or cards.read(folder / "card.yaml")
        config = cards.config_of(card, Config, **options)
        return cls(config, networks.load(folder, config.architecture()), card)

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        """A folder in transformers' layout with card.yaml, which `load` reads back; fp16 halves it."""
        networks.save(self.network, folder, fp16=fp16)
        card = cards.up_to_date(self.card, self.kind, self.config, self.parameters())
        cards.write(card, folder / "card.yaml")


def silog(pred: Tensor, target: Tensor, valid: Tensor, variance_focus: float = 0.5) -> Tensor:
    """Scale-invariant logarithmic error over all valid pixels of a batch (Eigen et al.; V2's metric code).

    Shapes: pred, target [B,1,H,W], positive where valid; valid [B,1,H,W] bool -> []. No valid pixel, or no
    error: 0, with zero gradient.

    >>> import math
    >>> t = torch.rand(2, 1, 4, 4) + 1; ok = torch.ones_like(t, dtype=torch.bool)
    >>> round((silog(2 * t, t, ok) / math.log(2)).item() ** 2, 4)
    0.5
    """
    tiny = torch.finfo(pred.dtype).tiny  # a sigmoid may underflow
    difference = torch.where(valid, target, 1).log() - torch.where(valid, pred, 1).clamp(min=tiny).log()
    count = valid.sum().clamp(min=1)
    square = difference.square().sum() / count - variance_focus * (difference.sum() / count).square()
    return torch.where(square > 0, torch.where(square > 0, square, 1).sqrt(), 0)
