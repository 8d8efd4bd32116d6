"""Networks in diffusers' folders: `config.json` and weights, in any of the forms that are published."""

from __future__ import annotations

import inspect
import json
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

from leadline import layout
from leadline.errors import WeightsError, did_you_mean, printable
from leadline.networks.space_to_depth import SpaceToDepth
from leadline.save.files import atomic
from leadline.weights.state import State, load_fitting, save_state

Classes = Mapping[str, type[nn.Module]]
UNETS: Classes = {
    "UNet2DConditionModel": diffusers.UNet2DConditionModel,
    "UNet2DModel": diffusers.UNet2DModel,
}
AUTOENCODERS: Classes = {
    "AutoencoderKL": diffusers.AutoencoderKL,
    "AutoencoderTiny": diffusers.AutoencoderTiny,
    "SpaceToDepth": SpaceToDepth,
}
NETWORKS: Classes = {**UNETS, **AUTOENCODERS}
FILE = "diffusion_pytorch_model.safetensors"  # diffusers' name for a network's weights
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # before 2023
LARGEST_JSON = 16_000_000  # bytes; a tokenizer's vocabulary has 1 MB
MOST_LAYERS = 64  # of one block, or of one kind
LONGEST_LIST = 64


def build(config: Mapping[str, Any], seed: int = 0, among: Classes = NETWORKS) -> nn.Module:
    """A network with random weights from a diffusers configuration, whose `_class_name` is `among` these.

    The same seed gives the same weights; the caller's random state is left as it was. Raises WeightsError
    for an unknown class or option, or an impossible configuration.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _from_config(config, "configuration", among, strict=True)


def empty(config: Mapping[str, Any], among: Classes = NETWORKS) -> nn.Module:
    """A network without numbers, on the meta device, as `build` makes one with them."""
    with torch.device("meta"):
        return _from_config(config, "configuration", among, strict=True)


def load_network(folder: Path, among: Classes = NETWORKS) -> nn.Module:
    """The network of a diffusers folder (`config.json` and weights) in float32, ready for prediction.

    Its class is `among` these. Full precision goes before variants, safetensors before torch's own format,
    whatever index files say. Raises WeightsError where files are missing, damaged or belong to another
    network.
    """
    with torch.device("meta"):  # no time is spent on weights that are replaced at once
        # not strict: other versions of diffusers wrote other options
        file = folder / "config.json"
        network = _from_config(read_json(file), file, among, strict=False)
    if expected := network.state_dict():
        state = load_fitting(weights_files(folder), expected, folder, rename_old_attention)
        network.load_state_dict(state, assign=True)
    return network.eval()


def save_network(network: nn.Module, folder: Path, *, fp16: bool = False) -> None:
    """Write a network as diffusers does, `config.json` and safetensors; diffusers reads it back too."""
    folder.mkdir(parents=True, exist_ok=True)
    network.save_config(folder)  # type: ignore[operator]
    if state := network.state_dict():
        save_state(state, folder / FILE, fp16=fp16)


def save_folder(
    folder: Path,
    class_name: str,
    networks: Mapping[str, nn.Module],
    scheduler: Mapping[str, Any] | None,
    *,
    index: Mapping[str, Any] | None = None,
    fp16: bool = False,
) -> None:
    """Write networks by the names of their subfolders, the scheduler's configuration if any, and the index.

    index: further entries of model_index.json.
    """
    files = {} if scheduler is None else {"scheduler/scheduler_config.json": scheduler}
    sampler = {} if scheduler is None else {"scheduler": ["diffusers", scheduler["_class_name"]]}
    index = {"_class_name": class_name, **sampler, **(index or {})}
    for name, network in networks.items():
        save_network(network, folder / name, fp16=fp16)
        index[name] = [type(network).__module__.partition(".")[0], type(network).__name__]
    for file, data in (files | {"model_index.json": index}).items():
        with atomic(folder / file) as temporary:
            temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def weights_files(folder: Path) -> list[Path]:
    """The file of a folder's weights, or all its shards. Raises WeightsError if there are none."""
    try:
        names = [path.name for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise WeightsError(f"{folder}: cannot be read: {error.strerror}, a model's folder needs it") from None
    files = [folder / name for name in layout.weights_of(names)]
    if not files:
        raise WeightsError(f"{folder}: no weights, or not all shards of them, {FILE} is needed")
    return files


def rename_old_attention(state: State) -> State:
    """Attention of autoencoders saved before 2023: its names, and 1x1 kernels in place of matrices."""
    new = {}
    for name, x in state.items():
        head, _, last = name.rpartition(".")
        block, _, word = head.rpartition(".")
        if word in OLD_ATTENTION and "attentions" in block:
            name = f"{block}.{OLD_ATTENTION[word]}.{last}"
            x = x.flatten(1) if x.dim() == 4 else x
        new[name] = x
    return new


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object of a model's folder. Raises WeightsError if it is missing or none."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise WeightsError(f"{file}: no file, a model's folder needs it: fetch it again")
        if status.st_size > LARGEST_JSON:
            raise WeightsError(f"{file}: larger than {LARGEST_JSON // 10**6} MB: no file of a model is")
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read: {error.strerror}, a model's folder needs it") from None
    except (ValueError, RecursionError):
        raise WeightsError(f"{file}: damaged, no JSON: fetch it again") from None
    if not isinstance(data, dict):
        raise WeightsError(f"{file}: holds {type(data).__name__}, a JSON object is needed")
    return data


def check_plausible(config: Mapping[str, Any], where: Path | str) -> None:
    """Raises WeightsError for a configuration that would take a day or all memory to build.

    >>> check_plausible({"layers_per_block": 10**9}, "config.json")
    Traceback (most recent call last):
    leadline.errors.WeightsError: config.json: layers_per_block is 1000000000, 64 at most ...
    """
    for key, value in config.items():
        numbers = list(_flat(value))
        if len(numbers) > LONGEST_LIST:
            found = f"{printable(key)} has {len(numbers)} entries, {LONGEST_LIST} at most are built"
            raise WeightsError(f"{where}: {found}: use a published model's")
        layers = [x for x in numbers if isinstance(x, int | float)] if re.search("layers|blocks", key) else []
        if layers and max(layers) > MOST_LAYERS:
            found = f"{printable(key)} is {max(layers)}, {MOST_LAYERS} at most are built"
            raise WeightsError(f"{where}: {found}: use a published model's")


def _check_one_width(config: Mapping[str, Any], where: Path | str) -> None:
    """Raises WeightsError for an AutoencoderTiny that could be built, but whose blocks do not fit."""
    for key in ("encoder_block_out_channels", "decoder_block_out_channels"):
        widths = list(_flat(config.get(key, [])))
        if len(set(widths)) > 1:
            raise WeightsError(
                f"{where}: {key} is {widths}, AutoencoderTiny needs one width for all: repeat one"
            )


def _flat(value: Any) -> Iterator[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else None
    if inner is None:
        yield value
    else:
        for item in inner:
            yield from _flat(item)


def _from_config(config: Mapping[str, Any], where: Path | str, among: Classes, *, strict: bool) -> nn.Module:
    """Classes come from the lists above only: no code is looked up by a file's word."""
    name = str(config.get("_class_name"))
    if name not in among:
        problem = "belongs elsewhere" if name in NETWORKS else "is unknown"
        found = f"network class {printable(name)[:80]!r} {problem}"
        raise WeightsError(f"{where}: {found}: {did_you_mean(name, among)}")
    known = inspect.signature(among[name]).parameters
    unknown = [key for key in config if key not in known and not key.startswith("_")]
    if unknown and strict:
        hint = did_you_mean(unknown[0], known)
        raise WeightsError(f"{where}: {name} has no option {unknown[0]!r}: {hint}")
    options = {key: value for key, value in config.items() if key in known}
    check_plausible(options, where)
    if name == "AutoencoderTiny":
        _check_one_width(options, where)
    try:
        return among[name](**options)
    except Exception as error:  # a stranger's numbers can fail in any way there is
        reason = printable(str(error))[:200]
        raise WeightsError(f"{where}: {name} cannot be built from this configuration: {reason}") from None
