"""A hub on loopback that answers as huggingface.co: listings, files, hashes, ranges; and how it fails."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
LARGE = (".safetensors", ".bin")  # what the hub keeps under SHA-256
ID = "GonzaloMG/marigold-e2e-ft-depth"
NAME = "marigold-e2e-ft-depth"
FILES = {  # of a repository of that id
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
    "pipeline.py": b"raise SystemExit",
    "README.md": b"words",
    "feature_extractor/preprocessor_config.json": b"{}",
    "scheduler/scheduler_config.json": b'{"of": "scheduler"}',
    "text_encoder/config.json": b'{"of": "text_encoder"}',
    "text_encoder/model.safetensors": b"encoder " * 100,
    "tokenizer/vocab.json": b'{"of": "tokenizer"}',
    "tokenizer/merges.txt": b"a b",
    "unet/config.json": b'{"of": "unet"}',
    "unet/diffusion_pytorch_model.bin": b"torch's " * 200,
    "unet/diffusion_pytorch_model.fp16.safetensors": b"half " * 100,
    "unet/diffusion_pytorch_model.safetensors": b"unet " * 200,
    "vae/.DS_Store": b"stray",
    "vae/config.json": b'{"of": "vae"}',
    "vae/diffusion_pytorch_model.safetensors": b"vae " * 200,
}
NEEDED = [  # of them for a model
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
]


@dataclass
class Repository:
    """Files by their names, and the ways in which the server fails on some of them."""

    files: dict[str, bytes]
    commit: str = COMMIT
    revisions: tuple[str, ...] = ("main",)
    hashes: dict[str, str] = field(default_factory=dict)  # given out in place of the true ones
    cut: dict[str, int] = field(default_factory=dict)  # how many times the connection is cut half-way
    status: int = 200  # of every answer

    def hash_of(self, name: str) -> str:
        data = self.files[name]
        true = hashlib.sha256(data) if name.endswith(LARGE) else hashlib.sha1(b"blob %d\0" % len(data) + data)
        return self.hashes.get(name, true.hexdigest())


class FakeHub(ThreadingHTTPServer):
    """`repositories` by id; `asked` lists what was fetched, as (method, path)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.asked: list[tuple[str, str]] = []
        self.private: dict[str, bool] = {}  # what was asked for where a repository was made
        self.closed = False  # to all who write

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fetched(self) -> list[str]:
        """Names of the files that were sent, in order."""
        return [
            path.split("/", 5)[5] for method, path in self.asked if method == "GET" and "/resolve/" in path
        ]


@contextmanager
def serve() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


def listed(folder: Path) -> list[str]:
    """Names of all files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_POST(self) -> None:
        """A repository is made, files are announced, a commit brings them in lines of JSON: all are small."""
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path))
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.closed:
            self._send(403, b'{"error": "no token"}', {}, body=True)
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            made = json.loads(data)
            id = "/".join(filter(None, (made.get("organization"), made["name"])))
            self.server.repositories.setdefault(id, Repository({}))
            self.server.private[id] = bool(made.get("private") or made.get("visibility") == "private")
            self._json({"url": f"{self.server.url}/{id}", "id": id, "name": id})
        elif "/preupload/" in path:
            wanted = json.loads(data)["files"]
            one = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self._json({"files": [{"path": f["path"], **one} for f in wanted]})
        elif "/commit/" in path:
            id = "/".join(path.strip("/").split("/")[2:4])
            for line in map(json.loads, data.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.repositories[id].files[line["value"]["path"]] = content
            commit = {"commitOid": COMMIT, "commitUrl": f"{self.server.url}/{id}/commit/{COMMIT}"}
            self._json({"success": True, "hookOutput": "", **commit})
        else:
            self._send(404, b"{}", {}, body=True)

    def _json(self, answer: dict[str, Any]) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path))
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        id, rest = ("/".join(parts[2:4]), parts[4:]) if api else ("/".join(parts[:2]), parts[2:])
        repository = self.server.repositories.get(id)
        if repository is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)
        elif repository.status != 200:
            self._send(repository.status, b"{}", {}, body=body)
        elif rest and rest[1] not in (*repository.revisions, repository.commit):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body=body)
        elif api:
            listing = self._tree(repository) if rest and rest[0] == "tree" else self._info(id, repository)
            self._send(200, json.dumps(listing).encode(), {"Content-Type": "application/json"}, body=body)
        else:
            self._file(repository, "/".join(rest[2:]), body=body)

    def _info(self, id: str, repository: Repository) -> dict[str, Any]:
        siblings = []
        for name, data in repository.files.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
            if name.endswith(LARGE):
                entry["lfs"] = {"sha256": repository.hash_of(name), "size": len(data), "pointerSize": 1}
            else:
                entry["blobId"] = repository.hash_of(name)
            siblings.append(entry)
        return {"id": id, "modelId": id, "sha": repository.commit, "siblings": siblings}

    def _tree(self, repository: Repository) -> list[dict[str, Any]]:
        entries = []
        for name, data in repository.files.items():
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
            if name.endswith(LARGE):
                entry["lfs"] = {"oid": repository.hash_of(name), "size": len(data), "pointerSize": 1}
            else:
                entry["oid"] = repository.hash_of(name)
            entries.append(entry)
        return entries

    def _file(self, repository: Repository, name: str, *, body: bool) -> None:
        if name not in repository.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body=body)
            return
        data = repository.files[name]
        headers = {
            "ETag": f'"{repository.hash_of(name)}"',
            "X-Repo-Commit": repository.commit,
            "Accept-Ranges": "bytes",
        }
        start, status = 0, 200
        if (wanted := self.headers.get("Range")) and body:
            start, status = int(wanted.removeprefix("bytes=").rstrip("-").split("-")[0]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = body and repository.cut.get(name, 0) > 0
        if cut:
            repository.cut[name] -= 1
        self._send(status, data[start:], headers, body=body, cut=cut)

    def _send(
        self, status: int, data: bytes, headers: dict[str, str], *, body: bool, cut: bool = False
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass
