"""The kinds of scene by name, and how often each is drawn."""

from __future__ import annotations

from collections.abc import Callable

from leadline.scenes.indoor import corridor, fitted, room, sunroom, table_top
from leadline.scenes.outdoor import blocks, facades, field
from leadline.scenes.street import street
from leadline.scenes.world import Stage, World

LAYOUTS: dict[str, Callable[[World], Stage]] = {
    "room": room,
    "corridor": corridor,
    "table_top": table_top,
    "street": street,
    "field": field,
    "facades": facades,
    "blocks": blocks,
    "sunroom": sunroom,
    "fitted": fitted,
}
SHARES = {  # a layout that is not here comes when its name is asked for: seeds keep their scenes
    "room": 0.34,
    "corridor": 0.07,
    "table_top": 0.12,
    "street": 0.24,
    "field": 0.11,
    "facades": 0.08,
    "blocks": 0.04,
}
