"""Models and data sets in, figures out, by a protocol.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     outcome = measure(["small"], ["scenes"], folder, limit=1, device="cpu")
...     (entry,) = outcome.document["results"]
>>> entry["protocol"], entry["pictures"], entry["figures"]["delta1"]["higher_is_better"]
('marigold-disparity', 1, True)
"""

from leadline.evaluate.models import Live, Stored
from leadline.evaluate.run import Outcome
from leadline.evaluate.shards import Shard
from leadline.evaluate.sources import Source
from leadline.evaluate.start import measure

__all__ = ["Live", "Outcome", "Shard", "Source", "Stored", "measure"]
