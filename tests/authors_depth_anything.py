"""Depth Anything's network as its authors name and count its parts, written independently of transformers.

For pictures of the one size that its position embeddings have. `taps` counts layers from 0, as they do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def holder(**parts: nn.Module | nn.Parameter) -> nn.Module:
    """A module that only has parts."""
    module = nn.Module()
    for name, part in parts.items():
        setattr(module, name, part)
    return module


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = holder(qkv=nn.Linear(width, 3 * width), proj=nn.Linear(width, width))
        self.mlp = holder(fc1=nn.Linear(width, 4 * width), fc2=nn.Linear(4 * width, width))
        self.ls1, self.ls2 = (holder(gamma=nn.Parameter(torch.ones(width))) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = (
            self.attn.qkv(self.norm1(x)).view(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        )
        mixed = ((q @ k.mT / (C // self.heads) ** 0.5).softmax(dim=-1) @ v).transpose(1, 2).reshape(B, N, C)
        x = x + self.ls1.gamma * self.attn.proj(mixed)
        return x + self.ls2.gamma * self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class Encoder(nn.Module):
    def __init__(self, width: int, heads: int, layers: int, patches: int) -> None:
        super().__init__()
        self.cls_token, self.mask_token = (
            nn.Parameter(torch.zeros(1, 1, width)),
            nn.Parameter(torch.zeros(1, width)),
        )
        self.pos_embed = nn.Parameter(torch.zeros(1, patches + 1, width))
        self.patch_embed = holder(proj=nn.Conv2d(3, width, 14, 14))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor, taps: list[int]) -> list[Tensor]:
        x = self.patch_embed.proj(x).flatten(2).mT
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        read = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in taps:
                read.append(self.norm(x)[:, 1:])
        return read


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, width, 1)
        self.resConfUnit1, self.resConfUnit2 = Residual(width), Residual(width)

    def forward(self, x: Tensor, finer: Tensor | None, size: tuple[int, ...]) -> Tensor:
        x = self.resConfUnit2(x if finer is None else x + self.resConfUnit1(finer))
        return self.out_conv(F.interpolate(x, size, mode="bilinear", align_corners=True))


class Head(nn.Module):
    def __init__(self, width: int, channels: list[int], features: int, last: int) -> None:
        super().__init__()
        a, b, _, d = channels
        self.projects = nn.ModuleList(nn.Conv2d(width, c, 1) for c in channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(a, a, 4, 4),
                nn.ConvTranspose2d(b, b, 2, 2),
                nn.Identity(),
                nn.Conv2d(d, d, 3, 2, padding=1),
            ]
        )
        layers = {
            f"layer{i}_rn": nn.Conv2d(c, features, 3, padding=1, bias=False)
            for i, c in enumerate(channels, 1)
        }
        self.scratch = holder(
            **layers,
            **{f"refinenet{i}": Fusion(features) for i in (1, 2, 3, 4)},
            output_conv1=nn.Conv2d(features, features // 2, 3, padding=1),
            output_conv2=nn.Sequential(
                nn.Conv2d(features // 2, last, 3, padding=1), nn.ReLU(), nn.Conv2d(last, 1, 1)
            ),
        )

    def forward(self, tokens: list[Tensor], h: int, w: int) -> Tensor:
        s, maps = self.scratch, []
        for x, project, resize in zip(tokens, self.projects, self.resize_layers, strict=True):
            maps.append(resize(project(x.mT.unflatten(2, (h, w)))))
        one, two, three, four = (getattr(s, f"layer{i}_rn")(x) for i, x in enumerate(maps, 1))
        x = s.refinenet4(four, None, three.shape[2:])
        x = s.refinenet3(x, three, two.shape[2:])
        x = s.refinenet2(x, two, one.shape[2:])
        x = s.refinenet1(x, one, (2 * one.shape[2], 2 * one.shape[3]))
        x = F.interpolate(s.output_conv1(x), (14 * h, 14 * w), mode="bilinear", align_corners=True)
        return s.output_conv2(x)


class Authors(nn.Module):
    """Normalised pictures [B,3,h,w] -> disparity [B,1,h,w], or metres with `max_depth`."""

    def __init__(self, width, heads, layers, patches, channels, features, last, taps, max_depth=None) -> None:
        super().__init__()
        self.taps, self.max_depth = taps, max_depth
        self.pretrained = Encoder(width, heads, layers, patches)
        self.depth_head = Head(width, channels, features, last)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2] // 14, x.shape[3] // 14
        value = self.depth_head(self.pretrained(x, self.taps), h, w)
        return F.relu(value) if self.max_depth is None else value.sigmoid() * self.max_depth
