"""A finished model to the hub: only when asked, and checked before a byte leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leadline.errors import UsageError, WeightsError, printable
from leadline.hub.download import endpoint
from leadline.hub.models import ID

NEVER = ("*.pt", "*.ckpt", ".*", "**/.*")  # states of trainings and hidden files


def check_id(id: str) -> None:
    """UsageError unless it can be a repository's: someone/something."""
    if not ID.fullmatch(id) or ".." in id:
        raise UsageError(f"--push-to-hub is {id!r}: a repository such as someone/my-depth is needed")


def push(folder: Path, id: str, *, private: bool = True) -> str:
    """Upload a model's folder as a new commit of a repository, which is made if there is none. Returns where
    it can be seen.

    The token is the hub's own (`hf auth login`, HF_TOKEN). Raises WeightsError with the reason.
    """
    check_id(id)
    if not (folder / "card.yaml").is_file():
        raise WeightsError(f"{folder} has no card.yaml: push a model's folder, such as RUN/model")
    try:
        from huggingface_hub import HfApi

        api: Any = HfApi(endpoint=endpoint())
        api.create_repo(id, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=id,
            folder_path=folder,
            ignore_patterns=list(NEVER),
            commit_message="A model trained with leadline",
        )
    except Exception as error:  # a server can fail in any way there is
        problem = f"{id} could not be pushed to: {_reason(error)}"
        raise WeightsError(f"{problem}; the model stays in {folder}") from None
    return str(getattr(done, "commit_url", done))


def _reason(error: Exception) -> str:
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it for this once"
    if status in (401, 403):
        return "the hub does not let you write there: set HF_TOKEN to a token that may"
    return printable(" ".join(str(error).split()))[:200] or type(error).__name__
