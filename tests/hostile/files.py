"""Weights files that are damaged, or lie about what they hold."""

from __future__ import annotations

import copy
import gzip
import io
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import torch

from hostile.tools import BIN, FILE, KEY, header, raw, rebuilt, safetensors, state_of, torchs, trick, zipped


@trick
def a_zip_bomb(folder: Path) -> None:
    zipped(folder, b"\x80\x02X" + struct.pack("<I", 30_000_000) + bytes(30_000_000) + b".", compression=8)


@trick
def a_zip_whose_entries_overlap(folder: Path) -> None:
    (folder / FILE).unlink()
    with zipfile.ZipFile(folder / BIN, "w") as archive:
        archive.writestr("archive/data/0", bytes(100_000))
        for number in range(1, 50):
            entry = copy.copy(archive.filelist[0])
            entry.filename = f"archive/data/{number}"
            archive.filelist.append(entry)


@trick
def a_view_of_ten_billion_numbers(folder: Path) -> None:
    torchs(folder, {KEY: rebuilt((100_000, 100_000), (0, 0))})


@trick
def a_tensor_beyond_its_storage(folder: Path) -> None:
    torchs(folder, {KEY: rebuilt((10**10,), (1,))})


@trick
def a_sparse_tensor(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a beta version
        sparse = torch.sparse_coo_tensor(torch.tensor([[0], [0]]), torch.ones(1), (10**9, 10**9))
    torchs(folder, {KEY: sparse})


@trick
def a_tensor_without_numbers(folder: Path) -> None:
    torchs(folder, {KEY: torch.empty(4, device="meta")})


@trick
def names_that_are_no_text(folder: Path) -> None:
    torchs(folder, {1: torch.zeros(1)})


@trick
def no_tensors(folder: Path) -> None:
    torchs(folder, {KEY: [1.0, 2.0]})


@trick
def a_list(folder: Path) -> None:
    torchs(folder, [torch.zeros(1)])


@trick
def an_archive_of_the_first_torch(folder: Path) -> None:
    (folder / FILE).unlink()
    with tarfile.open(folder / BIN, "w") as archive:
        for name in ("pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


@trick
def another_kind_of_file(folder: Path) -> None:
    raw(folder, gzip.compress(b"weights"))


@trick
def a_page_of_the_web(folder: Path) -> None:
    (folder / FILE).write_bytes(b"<!DOCTYPE html><html>Sign in</html>")


@trick
def a_pointer_of_git_lfs(folder: Path) -> None:
    (folder / FILE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3463726504\n")


@trick
def an_empty_file(folder: Path) -> None:
    (folder / FILE).write_bytes(b"")


@trick
def a_file_cut_short(folder: Path) -> None:
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-1000])


@trick
def a_zip_cut_short(folder: Path) -> None:
    torchs(folder, state_of(folder))
    (folder / BIN).write_bytes((folder / BIN).read_bytes()[:-1000])


@trick
def an_old_file_cut_short(folder: Path) -> None:
    torchs(folder, state_of(folder), _use_new_zipfile_serialization=False)
    (folder / BIN).write_bytes((folder / BIN).read_bytes()[:-1000])


@trick
def a_header_of_a_terabyte(folder: Path) -> None:
    header(folder, {}, length=10**12)


@trick
def a_header_that_is_no_json(folder: Path) -> None:
    header(folder, b"{" * 1000)


@trick
def offsets_beyond_the_file(folder: Path) -> None:
    header(folder, {KEY: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(8))


@trick
def offsets_that_overlap(folder: Path) -> None:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    header(folder, {KEY: entry, "other": entry}, bytes(16))


@trick
def a_shape_that_overflows(folder: Path) -> None:
    header(folder, {KEY: {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}})


@trick
def not_a_number(folder: Path) -> None:
    safetensors(folder, **{KEY: torch.full((4,), torch.nan)})


@trick
def infinity(folder: Path) -> None:
    safetensors(folder, **{KEY: torch.tensor([0, torch.inf, 0, 0])})


@trick
def too_large_for_float32(folder: Path) -> None:
    safetensors(folder, **{KEY: torch.full((4,), 1e300, dtype=torch.float64)})


@trick
def integers_for_weights(folder: Path) -> None:
    safetensors(folder, **{KEY: torch.zeros(4, dtype=torch.int8)})


@trick
def eight_bit_floats(folder: Path) -> None:
    safetensors(folder, **{KEY: torch.zeros(4).to(torch.float8_e4m3fn)})


@trick
def complex_numbers(folder: Path) -> None:
    safetensors(folder, **{KEY: torch.zeros(4, dtype=torch.complex64)})


@trick
def another_shape(folder: Path) -> None:
    safetensors(folder, conv_in__weight=torch.zeros(16, 4, 3, 3))


@trick
def a_tensor_missing(folder: Path) -> None:
    safetensors(folder, **{KEY: None})


@trick
def names_with_control_characters(folder: Path) -> None:
    safetensors(folder, **{"\x1b[2J\nerror: all is well": torch.zeros(1)})


@trick
def a_name_of_a_megabyte(folder: Path) -> None:
    safetensors(folder, **{"x" * 1_000_000: torch.zeros(1)})


@trick
def thousands_of_names(folder: Path) -> None:
    safetensors(folder, **{f"n{number}": torch.zeros(1) for number in range(5000)})
