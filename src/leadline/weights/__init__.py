"""Where weights are, and how they come into networks and back to disk: strictly, safely, in diffusers'
layout.

Only tensors are ever read from a checkpoint: safetensors first, otherwise torch's weights-only loading.
Nothing is downloaded unless asked, and a folder on this machine never leads to the network.
"""

from leadline.hub import autoencoder, card_of, find, obtain
from leadline.weights.folders import (
    AUTOENCODERS,
    FILE,
    NETWORKS,
    OLD_ATTENTION,
    UNETS,
    Classes,
    build,
    check_plausible,
    empty,
    load_network,
    read_json,
    rename_old_attention,
    save_folder,
    save_network,
    weights_files,
)
from leadline.weights.state import State, check_state, load_fitting, load_state, save_state

__all__ = [
    "AUTOENCODERS",
    "FILE",
    "NETWORKS",
    "OLD_ATTENTION",
    "UNETS",
    "Classes",
    "State",
    "autoencoder",
    "build",
    "card_of",
    "check_plausible",
    "check_state",
    "empty",
    "find",
    "load_fitting",
    "load_network",
    "load_state",
    "obtain",
    "read_json",
    "rename_old_attention",
    "save_folder",
    "save_network",
    "save_state",
    "weights_files",
]
