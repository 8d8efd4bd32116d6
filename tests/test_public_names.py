"""The public names stand in tests/public_names.txt: a changed line there is a change for users.

`python tests/test_public_names.py > tests/public_names.txt` writes the list anew.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import leadline

LIST = Path(__file__).with_name("public_names.txt")


def signature(name: str, thing: object) -> list[str]:
    """One line per name: functions and classes with their parameters, modules with what they define."""
    if isinstance(thing, ModuleType):
        own = {k: v for k, v in vars(thing).items() if not k.startswith("_") and is_own(v, thing.__name__)}
        return [line for key in sorted(own) for line in signature(f"{name}.{key}", own[key])]
    if isinstance(thing, type) and issubclass(thing, Exception | str):
        return [name]
    if callable(thing):
        parameters = inspect.signature(thing).parameters.values()
        return [f"{name}({', '.join(word(p) for p in parameters)})"]
    return [name]


def is_own(thing: object, module: str) -> bool:
    return callable(thing) and getattr(thing, "__module__", "").startswith(module)


def word(parameter: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(
        parameter.kind, ""
    )
    keyword = "=" if parameter.kind is inspect.Parameter.KEYWORD_ONLY else ""
    return f"{stars}{parameter.name}{keyword}"


def public_lines() -> list[str]:
    return [
        line
        for name in sorted(leadline.__all__)
        for line in signature(f"leadline.{name}", getattr(leadline, name))
    ]


def test_public_names_are_those_on_the_list():
    assert public_lines() == LIST.read_text().splitlines()


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'dpeth'"):
        _ = leadline.dpeth


def test_names_can_be_listed():
    assert set(leadline.__all__) <= set(dir(leadline))


@pytest.mark.parametrize(
    "statement", ["import leadline", "import leadline; leadline.Camera", "import leadline.cli"]
)
def test_torch_is_not_loaded_before_it_is_needed(statement):
    code = f"{statement}; import sys; print({{'torch', 'diffusers', 'transformers'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


if __name__ == "__main__":
    print("\n".join(public_lines()))
