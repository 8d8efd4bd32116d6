"""What figures are called, which of them are better, and how tables print them."""

from __future__ import annotations

from leadline.metrics.depth import MARIGOLD_NAMES

HIGHER = ("delta", "within", "boundary", "accuracy")  # how names of measures begin that should be high
UNITS = {  # by what is measured; all others are shares of 1
    "depth": {"sqrel": "m", "rmse": "m", "irmse": "1/m", "silog": "100 ln"},
    "normals": {"mean": "degrees", "median": "degrees", "rmse": "degrees", "within": "percent"},
}
NORMALS_NAMES = {"mean": "mean_angular_error", "median": "median_angular_error"}  # in Marigold's files
PERCENT = ("absrel", "delta", "accuracy")  # shares that tables print as percentages
DECIMALS = dict.fromkeys(
    ("boundary_f1", "boundary_recall", "log10", "sqrel", "rmse", "rmse_log", "irmse"), 3
)  # all others: 1


def unit(name: str, measure: str) -> str:
    """Of a figure; "" for a share of 1 or a bare number.

    >>> unit("rmse@median", "depth"), unit("within7.5", "normals"), unit("absrel", "depth")
    ('m', 'percent', '')
    """
    units = UNITS.get(measure, {})
    return units.get("within" if name.startswith("within") else base(name), "")


def base(name: str) -> str:
    """A figure's measure, whatever was done before it.

    >>> base("absrel@median")
    'absrel'
    """
    return name.partition("@")[0]


def higher_is_better(name: str) -> bool:
    """Whether a larger figure is better.

    >>> higher_is_better("delta1"), higher_is_better("absrel@depth")
    (True, False)
    """
    return name.startswith(HIGHER)


def printed(name: str, value: float) -> float:
    """A figure as the papers' tables give it: relative errors and accuracies in percent, rounded.

    >>> printed("absrel", 0.05449), printed("mean", 16.06), printed("boundary_f1", 0.4126)
    (5.4, 16.1, 0.413)
    """
    percent = name.startswith(PERCENT)
    return round(100 * value if percent else value, 1 if percent else DECIMALS.get(base(name), 1))


def title(name: str) -> str:
    """What a figure is called where it is printed.

    >>> title("delta1"), title("boundary_f1")
    ('delta1 %', 'boundary_f1')
    """
    return f"{name} %" if name.startswith(PERCENT) else name


def column(name: str, measure: str) -> str:
    """The name of a figure in per-picture files: Marigold's, where it has one.

    >>> column("absrel", "depth"), column("within7.5", "normals"), column("rmse", "normals")
    ('abs_relative_difference', 'sub7_5_error', 'rmse')
    """
    own, at, space = name.partition("@")
    if measure == "depth":
        own = MARIGOLD_NAMES.get(own, own)
    if measure == "normals" and own.startswith("within"):
        own = f"sub{own.removeprefix('within').replace('.', '_')}_error"
    elif measure == "normals":
        own = NORMALS_NAMES.get(own, own)
    return f"{own}{at}{space}"
