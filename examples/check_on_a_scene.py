"""How good is the model on a world whose depth is known exactly? check_on_a_scene.py [SEED]"""

import sys

import torch

import leadline
from leadline import align, metrics
from leadline.scenes import render

scene = render(seed=int(sys.argv[1]) if len(sys.argv) > 1 else 3, size=(192, 256))
truth = scene.depth[0].numpy()

prediction = leadline.load("small")(scene.rgb)
metric = align.to(prediction, truth, scene.valid[0].numpy())  # scale and shift are not the model's to know

depth = torch.from_numpy(metric.metres())[None, None]
delta1 = metrics.delta1(depth, scene.depth[None], scene.valid[None]).item()
print(f"{scene.kind}: {delta1:.0%} of the pixels are within 25 % of the truth")
