"""Procedural worlds with exact depth, normals and camera: training data without end, conformance tests,
pictures.

>>> scene = render(seed=7, size=(48, 64))
>>> scene.rgb.shape, scene.depth.shape, scene.kind in LAYOUTS
(torch.Size([3, 48, 64]), torch.Size([1, 48, 64]), True)
"""

from leadline.scenes.layouts import LAYOUTS
from leadline.scenes.render import Scene, render
from leadline.scenes.textures import Textures
from leadline.scenes.world import CLASSES

__all__ = ["CLASSES", "LAYOUTS", "Scene", "Textures", "render"]
