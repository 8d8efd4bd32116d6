"""The frames of `bundled.py` as folders of pairs, with a protocol for them: for `leadline eval`.

    python benchmarks/pairs.py --data DATA --out pairs
    leadline eval -p pairs/frames.yaml -d nyu=pairs/nyu -d kitti=pairs/kitti -m small -o runs/frames

Each prediction is aligned in its own space, as `bundled.py` does; depths count where its sets say so. The
last line is one JSON object: set -> frames.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import frames
import numpy as np
from frames import FrameSet
from PIL import Image

from leadline import documents
from leadline.errors import LeadlineError

PROTOCOL = {
    "name": "frames",
    "version": 1,
    "summary": "Frames of a few places, each prediction aligned in its own space",
    "measure": "depth",
    "align": {"affine_depth": "depth", "affine_disparity": "disparity"},
    "metrics": ["delta1", "absrel"],
    "rank": ["delta1", "absrel"],
}


def write(root: Path, which: FrameSet, out: Path) -> int:
    """A set's frames below `out`, as the data set `folder` reads them. Returns their number."""
    images = frames.real(root, which)
    for folder in ("images", "depth", "masks"):
        (out / which.name / folder).mkdir(parents=True, exist_ok=True)
    for frame in images:
        stem = Path(frame.name).name
        Image.fromarray(frame.rgb).save(out / which.name / "images" / f"{stem}.png")
        np.save(out / which.name / "depth" / f"{stem}.npy", frame.depth_m)
        Image.fromarray(255 * frame.valid.astype(np.uint8)).save(out / which.name / "masks" / f"{stem}.png")
    return len(images)


def protocol(chosen: list[FrameSet]) -> str:
    """The YAML text of a protocol that has these sets."""
    sets = {s.name: {"data": "folder", "range": [frames.NEAR_M, s.far_m]} for s in chosen}
    return documents.to_yaml(PROTOCOL | {"sets": sets})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kitti/ and rgbd_indoor/")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    args = parser.parse_args()
    chosen = [s for s in frames.SETS if s.split == args.split]
    counts = {s.name: write(args.data, s, args.out) for s in chosen}
    (args.out / "frames.yaml").write_text(protocol(chosen), encoding="utf-8")
    print(json.dumps(counts))


if __name__ == "__main__":
    try:
        main()
    except LeadlineError as error:
        sys.exit(f"error: {error}")
