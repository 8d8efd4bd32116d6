"""Where models are: in this installation, in a folder, in the hub's cache on this machine, on the hub.

The network is touched only where a download is asked for, and never with HF_HUB_OFFLINE=1. Of a repository,
one form of each network's weights is fetched and no code; the text encoder only if its empty prompt is not
known yet. Every file is held against its hash, which the hub's cache keeps as the name of the file.
"""

from leadline.hub.download import fetch
from leadline.hub.models import autoencoder, card_of, find, labeller, obtain, repository
from leadline.hub.snapshot import complete, on_disk, source

__all__ = [
    "autoencoder",
    "card_of",
    "complete",
    "fetch",
    "find",
    "labeller",
    "obtain",
    "on_disk",
    "repository",
    "source",
]
