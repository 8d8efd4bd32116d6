"""A photograph to its depth map and a picture of it: python examples/depth.py [PHOTOGRAPH]"""

import sys
from pathlib import Path

import leadline

photograph = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("china.jpg"))

model = leadline.load("small")
result = model(photograph)

print(model.describe())
print(f"{result.width}x{result.height}, {result.kind}: near is {result.near_is}")
for path in leadline.save.write(result, "out", photograph.stem):
    print(path)
