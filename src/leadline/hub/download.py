"""What a model needs of a repository, fetched from the hub and checked; cut downloads are taken up."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from leadline import cards, layout
from leadline.cache import COMMIT, SHA256, empty_text_file, note_encoder
from leadline.cards import Hub
from leadline.errors import LeadlineError, WeightsError, printable
from leadline.hub.snapshot import HASH, home, lacking, spoiled
from leadline.save.files import write_bytes

log = logging.getLogger(__name__)


def fetch(hub: Hub, *, cache: Path | None = None, variant: str | None = None, described: bool = True) -> Path:
    """Download what a model needs and is not in the cache yet, and check it; cut downloads are taken up.

    described: whether a card says what the model is, so that the repository need not hold one. Raises
    WeightsError, with the reason.
    """
    try:
        known, commit = _listing(hub)
        if not described and "card.yaml" not in known:
            raise undescribed(hub.id)
        wanted = layout.needed(known, hub.files, variant)
        encoder = _encoder(wanted, known)
        if encoder and empty_text_file(encoder).is_file():
            wanted = [name for name in wanted if not _holds_encoder(name)]
        expected = {name: hub.sha256.get(name, known[name]) for name in wanted}
        if odd := [name for name in wanted if not HASH.fullmatch(known[name])]:
            raise WeightsError(f"{hub.id}: {odd[0]}: the hub gives no hash of it: take it from elsewhere")
        folder = _download(hub, commit, expected, cache)
    except LeadlineError:
        raise
    except Exception as error:  # a stranger's server can fail in any way there is
        raise WeightsError(f"{hub.id} could not be fetched: {_reason(error, hub)}") from None
    if encoder:
        note_encoder(folder, encoder)
    if gaps := lacking(folder, hub):
        found = f"{hub.id} at {commit[:7]} is no whole model, without {', '.join(gaps)}"
        raise WeightsError(f"{found}: ask for another revision or repository")
    if not COMMIT.fullmatch(hub.revision):
        write_bytes(home(hub, cache) / "refs" / hub.revision, commit.encode("ascii"))
    return folder


def undescribed(where: Path | str) -> WeightsError:
    """The error for a model that no card says anything of."""
    return WeightsError(
        f"{where} has no card.yaml: say with a card which model it is, such as {cards.EXAMPLE}"
    )


def _listing(hub: Hub) -> tuple[dict[str, str], str]:
    """Files of a revision with their hashes (of large ones SHA-256, of small ones git's), and its commit."""
    from huggingface_hub import HfApi

    info: Any = HfApi(endpoint=endpoint()).model_info(hub.id, revision=hub.revision, files_metadata=True)
    if not COMMIT.fullmatch(info.sha or ""):
        raise WeightsError(
            f"{hub.id}: the hub names no commit for revision {hub.revision!r}: ask for another"
        )
    files = info.siblings or []
    return {f.rfilename: (f.lfs.sha256 if f.lfs else f.blob_id) or "" for f in files}, info.sha


def _download(hub: Hub, commit: str, expected: Mapping[str, str], cache: Path | None) -> Path:
    """Fetch files and check them; what is damaged, on the way or on this disk, is fetched once more."""
    from huggingface_hub import snapshot_download

    log.info("fetching %d files of %s at %s", len(expected), hub.id, commit)
    bad: list[str] = []
    for _ in range(2):
        folder = snapshot_download(
            hub.id, revision=commit, allow_patterns=list(expected), cache_dir=cache, endpoint=endpoint()
        )
        bad = spoiled(Path(folder), expected)
        if not bad:
            return Path(folder)
        _remove(Path(folder), bad)
    problem = f"{', '.join(bad[:3])}: not what its hash says, fetched twice and removed"
    raise WeightsError(f"{hub.id}: {problem}: try later, or another revision")


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).resolve().unlink(missing_ok=True)
        (folder / name).unlink(missing_ok=True)


def _encoder(names: Iterable[str], known: Mapping[str, str]) -> str | None:
    """The SHA-256 of the text encoder among these files, if it is one file."""
    held = [known[name] for name in names if _holds_encoder(name)]
    return held[0] if len(held) == 1 and SHA256.fullmatch(held[0]) else None


def _holds_encoder(name: str) -> bool:
    return name.startswith("text_encoder/") and not name.endswith(layout.TEXTS)


def endpoint() -> str | None:
    """The hub's address where HF_ENDPOINT gives another than its own."""
    return os.environ.get("HF_ENDPOINT") or None


def _reason(error: Exception, hub: Hub) -> str:
    from huggingface_hub import errors

    reasons: tuple[tuple[type[Exception], str], ...] = (
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE is set: unset it for this once"),
        (errors.GatedRepoError, f"accept its terms at huggingface.co/{hub.id}, and set HF_TOKEN"),
        (errors.RepositoryNotFoundError, "the hub has no such model, or it is private: set HF_TOKEN"),
        (
            errors.RevisionNotFoundError,
            f"it has no revision {hub.revision!r}: use one of its commits or tags",
        ),
    )
    for kind, reason in reasons:
        if isinstance(error, kind):
            return reason
    words = printable(" ".join(str(error).split()))[:200] or "no answer"
    return f"{type(error).__name__}: {words}: try again, what has arrived is kept"
