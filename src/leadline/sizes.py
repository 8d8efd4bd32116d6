"""From a picture's size to the size a network works at, and back: the rules, and the resizing they ask for.

Released programs differ here in small ways that change results (rounding, filter, 8-bit round trip, padding),
so a rule is data: a `SizeRule`. All resizing is torch's, with align_corners = False unless a rule says
otherwise. Antialiased, bilinear and bicubic equal torchvision's; as they are, OpenCV's. Where a resized
picture is rounded to 8 bits, halves go to the even neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from leadline.errors import ImageError, UsageError, check_shape, did_you_mean

Filter = Literal["bilinear", "bicubic", "nearest", "nearest-exact", "area"]  # torch's names
Edge = Literal["long", "short", "area", "closest"]  # area: sqrt(H W); closest: the one that changes least
Rounding = Literal["author", "diffusers", "nearest", "multiple", "cover", "torchvision"]
Pad = Literal["none", "replicate"]

BAND = 512  # rows that are float at a time: 100 megapixels take 1.2 GB as float32, 0.3 as they come
LARGEST = 2**26  # pixels at processing size that no rule exceeds by itself


@dataclass(frozen=True)
class SizeRule:
    """How a network wants its input, and how its output comes back. The defaults change the range only.

    Raises UsageError for a negative resolution, a multiple below 1, or an unknown word.
    """

    processing_res: int = 0  # pixels of `edge`; 0: the picture's own size
    edge: Edge = "long"  # which length becomes processing_res
    rounding: Rounding = "diffusers"  # see `processed_size`
    enlarge: bool = True  # small pictures too come to processing_res
    multiple: int = 1  # both sides are made multiples of it: by `pad`, or by rounding if that is "none"
    pad: Pad = "none"  # replicate: right and bottom, cut off again from the output
    filter: Filter = "bilinear"
    antialias: bool = True  # on the way in, bilinear and bicubic
    quantise: bool = False  # resize in 8 bits and round to 8 bits, as the authors of Marigold and E2E-FT do
    quantise_between: bool = False  # also between widths and heights, as Pillow does; for bicubic it shows
    filter_out: Filter | None = None  # on the way back; None: the same
    antialias_out: bool = False
    corners_out: bool = False  # on the way back, the centres of the corner pixels lie on each other
    repeat_edge: bool = (
        False  # a picture worked on at its own size: rows that the output lacks repeat its last
    )

    def __post_init__(self) -> None:
        if self.processing_res < 0 or self.multiple < 1:
            raise UsageError(
                f"processing resolution is {self.processing_res} in multiples of {self.multiple}: "
                "0 (the picture's own size) or more, and a multiple of 1 or more are needed"
            )
        _check_word("edge", self.edge, get_args(Edge))
        _check_word("rounding", self.rounding, get_args(Rounding))
        _check_word("pad", self.pad, get_args(Pad))
        _check_word("filter", self.filter, get_args(Filter))
        if self.filter_out is not None:
            _check_word("filter_out", self.filter_out, get_args(Filter))

    def in_multiples(self, of: int) -> SizeRule:
        """The same rule for a network that takes sides of multiples of that number only."""
        return replace(self, multiple=math.lcm(self.multiple, of))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture as a network wants it, with what is needed to bring the output back to the picture's size."""

    tensor: Tensor  # [1,3,h,w] float32 in [-1,1], padding included
    height: int  # of the picture
    width: int
    processed: tuple[int, int]  # (h, w) without padding
    rule: SizeRule


def processed_size(height: int, width: int, rule: SizeRule) -> tuple[int, int]:
    """(h, w) at which a picture is worked on, before padding.

    "author" truncates side * (R / edge) in double precision, so the long edge may come out as R - 1
    (Marigold, E2E-FT); "diffusers" divides integers; "nearest" rounds and never gives 0; "multiple" rounds to
    multiples at once (MiDaS, transformers); so does "cover", but up where a side would end below R (Depth
    Anything); "torchvision" is its Resize(R - 1, max_size=R), with R x R for squares (PrimeDepth). Small
    pictures are enlarged, unless the rule says otherwise.

    Raises ImageError where a side would vanish, or the other would become huge.

    >>> processed_size(480, 640, SizeRule(768)), processed_size(40, 47, SizeRule(768, rounding="author"))
    ((576, 768), (653, 767))
    >>> processed_size(480, 640, SizeRule(518, edge="short", rounding="cover", multiple=14))
    (518, 686)
    """
    if rule.processing_res == 0 or (not rule.enlarge and max(height, width) <= rule.processing_res):
        h, w = height, width
    elif rule.rounding == "torchvision":
        h, w = _short_edge(height, width, rule.processing_res)
    else:
        h, w = (_scaled(side, _edge(height, width, rule), rule) for side in (height, width))
        if min(h, w) < 1 or h * w > LARGEST:
            raise ImageError(
                f"{width}x{height} would be worked on at {w}x{h}, 1x1 to {LARGEST} pixels are possible: "
                "choose another processing resolution, or crop it"
            )
    return (h, w) if rule.pad != "none" else (_to_multiple(h, rule.multiple), _to_multiple(w, rule.multiple))


def to_tensor(rgb: np.ndarray) -> Tensor:
    """RGB [H,W,3], uint8 or float in [0,1] -> float32 [1,3,H,W] in [0,1].

    >>> to_tensor(np.full((2, 4, 3), 255, np.uint8)).shape
    torch.Size([1, 3, 2, 4])
    """
    check_shape(rgb, "H W 3", "rgb")
    whole = 255 if rgb.dtype == np.uint8 else 1
    return torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)[None] / whole  # [1,3,H,W]


def prepare(rgb: np.ndarray, rule: SizeRule) -> Prepared:
    """RGB [H,W,3], uint8 or float in [0,1] -> the network's input in [-1,1].

    Raises ImageError as `processed_size` does.
    """
    size = check_shape(rgb, "H W 3", "rgb")
    h, w = processed_size(size["H"], size["W"], rule)
    if rule.quantise:  # the authors resize a uint8 tensor, and go to [-1,1] after it
        x = _resize_in(rgb, h, w, rule, lambda band: to_tensor(_levels(band)))
        x = x.clamp(0, 255).round() / 255 * 2 - 1  # bicubic overshoots
    else:
        x = _resize_in(rgb, h, w, rule, lambda band: to_tensor(band) * 2 - 1)  # [1,3,h,w]
    return Prepared(_padded(x, rule), size["H"], size["W"], (h, w), rule)


def crop(prepared: Prepared, top: int, left: int, height: int, width: int) -> Prepared:
    """A part of a prepared picture, in its processed pixels, as though it had been a picture of this size."""
    x = prepared.tensor[..., top : top + height, left : left + width]
    return Prepared(_padded(x, prepared.rule), height, width, (height, width), prepared.rule)


def unpad(x: Tensor, prepared: Prepared) -> Tensor:
    """A network's outputs [E,C,h,w] without the rows and columns that belong to padding.

    Raises ShapeError if there was padding and the output has another size than the input.
    """
    if prepared.rule.pad == "none":
        return x
    h, w = prepared.tensor.shape[2:]
    check_shape(x, "E C h w", "network output", h=h, w=w)
    return x[..., : prepared.processed[0], : prepared.processed[1]]


def restore(x: Tensor, prepared: Prepared, *, nearest: bool = False, by: Filter | None = None) -> Tensor:
    """A map without padding, [1,C,h,w] -> [1,C,H,W] at the picture's size; `nearest`: no values between those
    that it has; by: this filter, in place of the rule's.

    It may be smaller than the input was (autoencoders drop rows that are too few): it is stretched.
    """
    rule = prepared.rule
    if rule.repeat_edge and prepared.processed == (prepared.height, prepared.width):
        lacking = prepared.height - x.shape[2], prepared.width - x.shape[3]
        return F.pad(x, (0, lacking[1], 0, lacking[0]), mode="replicate")
    mode = "nearest-exact" if nearest else by or rule.filter_out or rule.filter
    return _resize(x, prepared.height, prepared.width, mode, rule.antialias_out, rule.corners_out)


def _check_word(field: str, word: object, known: tuple[str, ...]) -> None:
    if word not in known:
        raise UsageError(f"{field} {word!r} is unknown: {did_you_mean(str(word), known)}")


def _short_edge(height: int, width: int, most: int) -> tuple[int, int]:
    """The short edge becomes most - 1, unless the long one would be above `most` then."""
    if height == width:
        return most, most
    short, long = sorted((height, width))
    new_short, new_long = most - 1, int((most - 1) * long / short)
    if new_long > most:
        new_short, new_long = int(most * new_short / new_long), most
    return (new_short, new_long) if height < width else (new_long, new_short)


def _padded(x: Tensor, rule: SizeRule) -> Tensor:
    if rule.pad == "none":
        return x
    h, w = x.shape[2:]
    return F.pad(x, (0, -w % rule.multiple, 0, -h % rule.multiple), mode="replicate")


def _edge(height: int, width: int, rule: SizeRule) -> float:
    if rule.edge == "area":
        return math.sqrt(height * width)
    if rule.edge == "closest":  # of equal ones the height
        return min(height, width, key=lambda side: abs(1 - rule.processing_res / side))
    return max(height, width) if rule.edge == "long" else min(height, width)


def _scaled(side: int, edge: float, rule: SizeRule) -> int:
    if rule.rounding == "author":
        return int(side * (rule.processing_res / edge))
    if rule.rounding == "diffusers":
        return int(side * rule.processing_res // edge)
    if rule.rounding in ("multiple", "cover"):
        count = side * (rule.processing_res / edge) / rule.multiple
        too_small = rule.rounding == "cover" and round(count) * rule.multiple < rule.processing_res
        return (math.ceil(count) if too_small else round(count)) * rule.multiple
    return max(1, round(side * rule.processing_res / edge))


def _to_multiple(side: int, multiple: int) -> int:
    return max(1, round(side / multiple)) * multiple


def _resize_in(
    rgb: np.ndarray, h: int, w: int, rule: SizeRule, as_float: Callable[[np.ndarray], Tensor]
) -> Tensor:
    """[H,W,3] -> [1,3,h,w].

    Torch resizes widths before heights, so widths can be done a band of rows at a time with the same numbers.
    """
    bands = (rgb[top : top + BAND] for top in range(0, len(rgb), BAND))
    narrow = [_resize(as_float(band), len(band), w, rule.filter, rule.antialias) for band in bands]
    if rule.quantise and rule.quantise_between:
        narrow = [x.clamp(0, 255).round() for x in narrow]
    return _resize(torch.cat(narrow, dim=2), h, w, rule.filter, rule.antialias)


def _levels(rgb: np.ndarray) -> np.ndarray:
    """The 8-bit levels 0..255, as float32."""
    return rgb.astype(np.float32) if rgb.dtype == np.uint8 else np.round(rgb * np.float32(255))


def _resize(x: Tensor, h: int, w: int, mode: Filter, antialias: bool, corners: bool = False) -> Tensor:
    """[1,C,*,*] -> [1,C,h,w]."""
    if tuple(x.shape[2:]) == (h, w):
        return x
    smooth = mode in ("bilinear", "bicubic")
    return F.interpolate(
        x, (h, w), mode=mode, align_corners=corners if smooth else None, antialias=antialias and smooth
    )
