"""YAML documents (recipes, cards, protocols) -> validated objects, with errors that name the key.

Documents may come from strangers: they are read without YAML's object tags, and without aliases, with which a
small file can describe an enormous one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from leadline.errors import DocumentError, did_you_mean

MAX_BYTES = 1_000_000
SHOWN = 3  # faults of a document at once
M = TypeVar("M", bound=BaseModel)


def load(source: Path | str, model: type[M]) -> M:
    """Read and validate. A Path is a file; a str is YAML text.

    Unknown keys are refused at every level, and the nearest right one is named. Raises DocumentError, one
    line: the file, the key's path, what is wrong.

    >>> class Optimiser(BaseModel):
    ...     lr: float
    ...     warmup: int = 0
    >>> load("lr: 3e-5", Optimiser)
    Optimiser(lr=3e-05, warmup=0)
    >>> load("{lr: 3e-5, warm_up: 100}", Optimiser)
    Traceback (most recent call last):
    leadline.errors.DocumentError: text: warm_up: unknown key, did you mean 'warmup'?
    """
    return validate(parse(source), model, _name(source))


def parse(source: Path | str) -> dict[str, Any]:
    """The document as a plain dictionary, not yet validated. Raises DocumentError unless it is a mapping."""
    name = _name(source)
    try:
        data = yaml.load(_text(source), _Loader)  # noqa: S506  a SafeLoader with two more refusals
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise DocumentError(f"{name}: {line}{error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DocumentError(f"{name}: not YAML that can be read: {error}") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise DocumentError(f"{name}: holds {type(data).__name__}, a mapping 'key: value' is needed")
    return data


def validate(data: Mapping[str, Any], model: type[M], name: str = "document") -> M:
    """A dictionary -> the validated object. Raises DocumentError that names the first wrong keys."""
    try:
        return model.model_validate(dict(data), extra="forbid")
    except ValidationError as error:
        errors = error.errors(include_url=False)
        said = "; ".join(_explain(one, model) for one in errors[:SHOWN])
        more = f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
        raise DocumentError(f"{name}: {said}{more}") from None


def dump(document: BaseModel) -> str:
    """The object as YAML text that `load` reads back to an equal one.

    >>> class Batch(BaseModel):
    ...     size: int = 2
    >>> dump(Batch())
    'size: 2\\n'
    """
    return to_yaml(document.model_dump(mode="json"))


def to_yaml(data: Mapping[str, Any]) -> str:
    """Plain values (numbers, strings, lists, mappings) as YAML text, in the order given."""
    return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True)


def override(data: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy with `key.path=value` applied, values read as YAML. Raises DocumentError for a malformed one.

    >>> override({"optimiser": {"lr": 1}, "steps": 5}, ["optimiser.lr=2", "tags=[a, b]"])
    {'optimiser': {'lr': 2}, 'steps': 5, 'tags': ['a', 'b']}
    """
    result = copy.deepcopy(dict(data))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        *parents, last = path.split(".")
        if not equals or not all([*parents, last]):
            raise DocumentError(f"override is {assignment!r}, 'key.path=value' is needed")
        place = result
        for key in parents:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise DocumentError(f"override {assignment!r}: {key} is a value, it has no keys of its own")
        place[last] = _value(assignment, text)
    return result


def _value(assignment: str, text: str) -> Any:
    """What an assignment gives, read as YAML."""
    try:
        return parse(f"value: {text}")["value"]
    except DocumentError as error:
        reason = str(error).removeprefix("text: ").removeprefix("line 1: ")
        hint = "close its brackets and quotes, or quote it as a whole"
        raise DocumentError(f"override {assignment!r}: its value cannot be read ({reason}): {hint}") from None


class _Loader(yaml.SafeLoader):
    """Safe loading that also refuses aliases and keys given twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not read: write the value out", problem_mark=mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, key in enumerate(keys):
            if key.value in [earlier.value for earlier in keys[:number]]:
                problem = f"key {key.value!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def _name(source: Path | str) -> str:
    return str(source) if isinstance(source, Path) else "text"


def _text(source: Path | str) -> str:
    if isinstance(source, str):
        return source
    try:
        if source.stat().st_size > MAX_BYTES:
            raise DocumentError(f"{source}: larger than {MAX_BYTES // 1000} kB, this is no document of ours")
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DocumentError(f"{source}: cannot be read: {reason}") from None


def _explain(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    path = [part for part in error["loc"] if part != "[key]"]
    where = ".".join(str(part) for part in path)
    if error["type"] != "extra_forbidden":
        whole = error["type"] == "missing" or isinstance(error["input"], Mapping)
        found = "" if whole else f", found {error['input']!r:.60}"
        return f"{where or 'document'}: {error['msg'].removeprefix('Value error, ')}{found}"
    return f"{where}: unknown key, {did_you_mean(str(path[-1]), _keys_at(model, path[:-1]))}"


def _keys_at(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Field names of the models that a path leads to; indices, free keys and union tags change nothing."""
    here = [model]
    for part in path:
        steps = [m.model_fields[str(part)].annotation for m in here if str(part) in m.model_fields]
        here = [inner for step in steps for inner in _models_in(step)] or here
    return sorted({name for m in here for name in m.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
