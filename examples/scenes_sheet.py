"""A contact sheet of procedural scenes: photograph, depth (near red), normals; two of each layout per row.

python examples/scenes_sheet.py [PICTURE]
"""

import sys

import numpy as np
from PIL import Image

from leadline import colour
from leadline.data.scenes import eight_bit
from leadline.prediction import Kind
from leadline.scenes import LAYOUTS, Scene, render


def triptych(scene: Scene) -> np.ndarray:
    disparity = 1 / scene.depth[0].numpy()  # the sky's is 0
    valid = scene.valid[0].numpy()
    depth = colour.picture(disparity, Kind.affine_disparity, valid=valid)
    normals = colour.picture(scene.normals.permute(1, 2, 0).numpy(), Kind.normals, valid=valid)
    return np.concatenate([eight_bit(scene.rgb), depth, normals], axis=1)


target = sys.argv[1] if len(sys.argv) > 1 else "scenes.png"
rows = []
for number, kind in enumerate(LAYOUTS):
    pair = [triptych(render(seed, (144, 192), kind=kind)) for seed in (20 + number, 50 + number)]
    rows.append(np.concatenate(pair, axis=1))
Image.fromarray(np.concatenate(rows)).save(target, optimize=True)
print(target)
