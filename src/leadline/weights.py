"""Where weights are, and how they come into networks and back to disk: strictly, safely, in diffusers'
layout.

Only tensors are ever read from a checkpoint: safetensors first, otherwise torch's weights-only loading.
Nothing is downloaded unless asked, and a folder on this machine never leads to the network.
"""

from __future__ import annotations

import inspect
import json
import pickle
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from leadline import cards
from leadline.errors import WeightsError, nearest
from leadline.networks.space_to_depth import SpaceToDepth
from leadline.save.files import atomic

State = dict[str, Tensor]

NETWORKS: dict[str, type[nn.Module]] = {
    "UNet2DConditionModel": diffusers.UNet2DConditionModel,
    "UNet2DModel": diffusers.UNet2DModel,
    "AutoencoderKL": diffusers.AutoencoderKL,
    "AutoencoderTiny": diffusers.AutoencoderTiny,
    "SpaceToDepth": SpaceToDepth,
}
FILES = (  # names that diffusers gives to a network's weights, the preferred first
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
)
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # before 2023


def find(model: str | Path, *, cache: Path | None = None, download: bool = False) -> Path:
    """The folder of a model: of a bundled or published one by its name, or one on this machine as it is.

    Names are those of `leadline.cards`. As text, a name goes before a folder of the same name: write
    `./small` for the folder. Published models are looked up in the hub's cache on this machine (`cache`:
    another one), and fetched only with `download`. Raises WeightsError if the model is unknown or not here.

    >>> find("no-such-model")
    Traceback (most recent call last):
    leadline.errors.WeightsError: model 'no-such-model' is unknown ...
    """
    if Path(model).is_dir() and (isinstance(model, Path) or model not in cards.names()):
        return Path(model)
    if isinstance(model, Path):
        raise WeightsError(f"{model}: no such folder, a model's folder or name is needed")
    card = cards.get(model)
    if card.hub is None:
        return cards.BUNDLED / card.name
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            card.hub.id,
            revision=card.hub.revision,
            allow_patterns=list(card.hub.files) or None,
            cache_dir=cache,
            local_files_only=not download,
        )
    except LocalEntryNotFoundError:
        way = "no connection to huggingface.co" if download else "give its folder, or allow the download"
        raise WeightsError(f"weights of {card.name} ({card.hub.id}) are not on this machine: {way}") from None
    except HfHubHTTPError as error:
        raise WeightsError(
            f"weights of {card.name} could not be fetched from {card.hub.id}: {error}"
        ) from None
    return Path(folder)


def build(config: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """A network with random weights from a diffusers configuration, whose `_class_name` is one of `NETWORKS`.

    The same seed gives the same weights; the caller's random state is left as it was. Raises WeightsError
    for an unknown class or option, or an impossible configuration.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _from_config(config, strict=True)


def load_network(folder: Path) -> nn.Module:
    """The network of a diffusers folder (`config.json` and weights) in float32, ready for prediction.

    Raises WeightsError where files are missing, damaged or belong to another network.
    """
    with torch.device("meta"):  # no time is spent on weights that are replaced at once
        # not strict: other versions of diffusers wrote other options
        network = _from_config(read_json(folder / "config.json"), strict=False)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    if expected:
        state = rename_old_attention(load_state(_weights_file(folder)))
        check_state(state, expected, folder)
        state = {name: x.float() if x.is_floating_point() else x for name, x in state.items()}
        network.load_state_dict(state, assign=True)
    return network.eval()


def save_network(network: nn.Module, folder: Path, *, fp16: bool = False) -> None:
    """Write a network as diffusers does, `config.json` and safetensors; diffusers reads it back too."""
    folder.mkdir(parents=True, exist_ok=True)
    network.save_config(folder)  # type: ignore[operator]
    if state := network.state_dict():
        save_state(state, folder / FILES[0], fp16=fp16)


def save_folder(
    folder: Path,
    class_name: str,
    networks: Mapping[str, nn.Module],
    scheduler: Mapping[str, Any],
    *,
    fp16: bool = False,
) -> None:
    """Write networks by the names of their subfolders, the scheduler's configuration, and the index."""
    index: dict[str, Any] = {"_class_name": class_name, "scheduler": ["diffusers", scheduler["_class_name"]]}
    for name, network in networks.items():
        save_network(network, folder / name, fp16=fp16)
        index[name] = [type(network).__module__.partition(".")[0], type(network).__name__]
    for file, data in (("scheduler/scheduler_config.json", scheduler), ("model_index.json", index)):
        with atomic(folder / file) as temporary:
            temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def load_state(file: Path) -> State:
    """Named tensors from a `.safetensors` file, or from torch's own format without running any code in it.

    Raises WeightsError if the file is damaged, holds more than tensors, or has values that are not finite.
    """
    try:
        state = load_file(file) if file.suffix == ".safetensors" else _load_pickled(file)
    except FileNotFoundError:
        raise WeightsError(f"{file}: no such file") from None
    except pickle.UnpicklingError:
        raise WeightsError(f"{file}: holds more than tensors and is not read: ask for safetensors") from None
    except Exception as error:  # a stranger's bytes can fail in any way there is
        raise WeightsError(f"{file}: damaged or no weights file ({error}): fetch it again") from None
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise WeightsError(f"{file}: holds {type(state).__name__}, named tensors are needed")
    broken = [name for name, x in state.items() if x.is_floating_point() and not bool(x.isfinite().all())]
    if broken:
        raise WeightsError(f"{file}: {_grouped(broken)} not finite, the file may be damaged: fetch it again")
    return state


def _load_pickled(file: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd pickles: they are refused, or hold tensors only
        return torch.load(file, map_location="cpu", weights_only=True)


def save_state(state: Mapping[str, Tensor], file: Path, *, fp16: bool = False) -> None:
    """Named tensors as safetensors, in one move: never half a file. `fp16` halves float32; what overflows
    is refused.
    """
    ready = {name: x.detach().cpu().contiguous() for name, x in state.items()}
    if fp16:
        ready = {name: x.half() if x.is_floating_point() else x for name, x in ready.items()}
        broken = [name for name, x in ready.items() if not bool(x.isfinite().all())]
        if broken:
            raise WeightsError(f"{_grouped(broken)} too large for half precision: save in float32")
    with atomic(file) as temporary:
        save_file(ready, temporary)


def check_state(state: Mapping[str, Tensor], expected: Mapping[str, Iterable[int]], where: Path) -> None:
    """Compare names and shapes. Raises WeightsError with the differences, grouped, in one line."""
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected]
    shapes = [
        f"{name} {list(state[name].shape)} for {list(shape)}"
        for name, shape in expected.items()
        if name in state and list(state[name].shape) != list(shape)
    ]
    parts = [f"{len(missing)} missing: {_grouped(missing)}"] if missing else []
    parts += [f"{len(extra)} unexpected: {_grouped(extra)}"] if extra else []
    parts += [f"{len(shapes)} of another shape: {', '.join(shapes[:4])}"] if shapes else []
    if parts:
        raise WeightsError(
            f"{where}: weights do not fit config.json: {'; '.join(parts)}: use the files of one model"
        )


def rename_old_attention(state: Mapping[str, Tensor]) -> State:
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
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read: {error.strerror}, a model's folder needs it") from None
    except ValueError:
        raise WeightsError(f"{file}: damaged, no JSON: fetch it again") from None
    if not isinstance(data, dict):
        raise WeightsError(f"{file}: holds {type(data).__name__}, a JSON object is needed")
    return data


def _from_config(config: Mapping[str, Any], *, strict: bool) -> nn.Module:
    """Classes come from the list above only: no code is looked up by a file's word."""
    name = str(config.get("_class_name"))
    if name not in NETWORKS:
        hint = nearest(name, NETWORKS) or ", ".join(NETWORKS)
        raise WeightsError(f"network class {name!r} is unknown: use {hint}")
    known = inspect.signature(NETWORKS[name]).parameters
    unknown = [key for key in config if key not in known and not key.startswith("_")]
    if unknown and strict:
        hint = nearest(unknown[0], known) or ", ".join(known)
        raise WeightsError(f"{name} has no option {unknown[0]!r}: use {hint}")
    try:
        return NETWORKS[name](**{key: value for key, value in config.items() if key in known})
    except (ValueError, TypeError, ZeroDivisionError, RuntimeError) as error:
        raise WeightsError(f"{name} cannot be built from this configuration: {error}") from None


def _weights_file(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder}: no weights, {FILES[0]} is needed")


def _grouped(names: Iterable[str], most: int = 4) -> str:
    """Names cut to the longest common depth that leaves few groups, each with its count.

    >>> _grouped(["a.b.weight", "a.b.bias", "c.weight"])
    'a.b.weight, a.b.bias, c.weight'
    >>> _grouped([f"up.{i}.conv.{j}" for i in (0, 1) for j in range(3)])
    'up.0.conv.* (3), up.1.conv.* (3)'
    """
    names = list(names)
    if len(names) <= most:
        return ", ".join(names)
    for depth in range(max(name.count(".") for name in names), 0, -1):
        groups = Counter(".".join(name.split(".")[:depth]) for name in names)
        if len(groups) <= most:
            break
    listed = [f"{group}.* ({count})" for group, count in groups.most_common(most)]
    return ", ".join(listed) + (", ..." if len(groups) > most else "")
