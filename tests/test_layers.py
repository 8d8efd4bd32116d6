"""The imports of src/leadline, walked: arrows point down, papers stand alone, heavy libraries stay put."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "leadline"
LAYERS = [
    {"errors", "prediction", "camera", "documents", "ade20k"},
    {
        "image",
        "pixels",
        "sizes",
        "devices",
        "coding",
        "crops",
        "align",
        "ensemble",
        "noise",
        "schedule",
        "losses",
        "metrics",
        "surface",
        "scenes",
    }
    | {"colour", "save", "presets", "cache", "layout", "tiles", "machine"},
    {"networks", "weights", "cards", "hub", "protocols"},
    {"methods", "data"},
    {
        "predict",
        "light",
        "captions",
        "running",
        "tasks",
        "large",
        "jobs",
        "train",
        "recipe",
        "evaluate",
        "label",
        "cluster",
        "report",
        "bench",
    },
    {"cli", "__main__"},
]
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}
FILES = {
    ".".join(("leadline", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}
HEAVY = {"diffusers", "transformers"}


def imports(path: Path) -> Iterator[str]:
    """Full names that a file imports, at its top or inside its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import; write 'from leadline ...'"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> set[str]:
    """Modules of ours among them: 'leadline.align.fit' and 'leadline.align' both are 'leadline.align'."""
    names = [name for name in imports(path) if name.split(".")[0] == "leadline"]
    return {name if name in FILES else name.rpartition(".")[0] for name in names if name != "leadline"}


# __init__ lists the public names of all layers, and imports each when it is first used
MODULES = sorted(set(FILES) - {"leadline"})


def part(module: str, depth: int = 1) -> str:
    """'leadline.methods.e2e_ft' -> 'methods', at depth 2 'e2e_ft'; '' above."""
    return (module.split(".") + ["", ""])[depth]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_layer(module):
    assert part(module) in LAYER_OF, f"{module}: give it a layer in {Path(__file__).name}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    up = {
        m
        for m in own_imports(FILES[module])
        if m != "leadline" and LAYER_OF[part(m)] > LAYER_OF[part(module)]
    }
    assert not up, f"{module} imports from a higher layer: {sorted(up)}"


@pytest.mark.parametrize("module", [m for m in MODULES if LAYER_OF[part(m)] < LAYER_OF["cli"]])
def test_only_the_command_line_imports_through_the_public_names(module):
    through = {name for name in imports(FILES[module]) if name.startswith("leadline.") and name not in FILES}
    top = {name for name in through if name.count(".") == 1} - {"leadline.__version__"}
    assert not top, f"{module} imports {sorted(top)}: name the module that defines it"


def test_no_modules_import_each_other():
    graph = {module: own_imports(FILES[module]) - {module, "leadline"} for module in MODULES}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(MODULES) <= set(order)


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) == "methods"])
def test_no_method_imports_another(module):
    others = {
        m
        for m in own_imports(FILES[module])
        if part(m) == "methods" and part(m, 2) not in ("", part(module, 2))
    }
    assert not others, f"{module} imports {sorted(others)}: what papers share belongs a layer below"


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) == "data"])
def test_no_data_set_imports_a_method(module):
    assert not {m for m in own_imports(FILES[module]) if part(m) == "methods"}


@pytest.mark.parametrize("module", MODULES)
def test_diffusers_and_transformers_stay_with_networks_and_weights(module):
    heavy = {name.split(".")[0] for name in imports(FILES[module])} & HEAVY
    assert not heavy or part(module) in ("networks", "weights"), f"{module} imports {heavy}"


def test_processes_that_load_data_import_no_networks():
    """Each of them pays seconds and hundreds of megabytes for diffusers and accelerate."""
    reached, ahead = set(), ["leadline.data.loading", "leadline.data.scenes", "leadline.data.synth"]
    while ahead:
        module = ahead.pop()
        if module not in reached:
            reached.add(module)
            ahead += own_imports(FILES[module]) & set(MODULES)
    assert {m for m in reached if LAYER_OF[part(m)] == LAYER_OF["networks"] or part(m) == "train"} == set()
    assert {name.split(".")[0] for m in reached for name in imports(FILES[m])} & {
        *HEAVY,
        "accelerate",
    } == set()


@pytest.mark.parametrize("module", MODULES)
def test_files_stay_readable(module):
    lines = FILES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= 400, f"{module} has {lines} lines: open a folder"
