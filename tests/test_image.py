"""The one door for images: every format, mode and layout becomes upright RGB, or one clear line."""

from __future__ import annotations

import contextlib
import io
import logging
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_inputs import chunk, encoded, png, write_all
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from leadline import image
from leadline.camera import Camera
from leadline.errors import CameraError, ImageError, UsageError
from leadline.image import Picture, read, sniff

side = st.integers(1, 257)
MODES = Image.MODES


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


def in_mode(mode: str, height: int, width: int) -> Image.Image:
    """Noise in any of Pillow's modes, floats in [0,1]."""
    rgb = Image.fromarray(noise(height, width))
    if mode == "F":
        return Image.fromarray(np.asarray(rgb.convert("L"), np.float32) / 255)
    if mode.startswith("I"):
        return Image.new(mode, (width, height), 30000)
    if mode in ("La", "RGBa"):
        return rgb.convert(mode.upper()).convert(mode)
    return rgb.convert("L").convert(mode) if mode in ("LA", "PA") else rgb.convert(mode)


# --- what comes in ---


@settings(max_examples=60, deadline=None)
@given(mode=st.sampled_from(MODES), height=side, width=side)
def test_every_size_and_pillow_mode_is_read(mode, height, width):
    picture = read(in_mode(mode, height, width))
    assert picture.rgb.shape == (height, width, 3)
    assert picture.rgb.dtype == (np.float32 if mode[0] in "FI" else np.uint8)
    assert picture.rgb.flags.c_contiguous
    assert picture.rgb.flags.writeable


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "1"),
        ("PNG", "L"),
        ("PNG", "LA"),
        ("PNG", "P"),
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "I;16"),
        ("TIFF", "1"),
        ("TIFF", "L"),
        ("TIFF", "P"),
        ("TIFF", "RGB"),
        ("TIFF", "CMYK"),
        ("TIFF", "LAB"),
        ("TIFF", "I;16"),
        ("TIFF", "I;16B"),
        ("TIFF", "F"),
        ("BMP", "1"),
        ("BMP", "P"),
        ("BMP", "RGB"),
        ("GIF", "L"),
        ("GIF", "P"),
        ("PPM", "L"),
        ("PPM", "RGB"),
        ("PPM", "I;16"),
        ("WEBP", "RGB"),
        ("QOI", "RGB"),
    ],
)
def test_lossless_files_give_what_the_image_in_memory_gives(kind, mode):
    source = in_mode(mode, 13, 17)
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(read(encoded(kind, source, **options)).rgb, read(source).rgb)


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("AVIF", "RGB")]
)
def test_lossy_files_are_close_to_what_was_stored(kind, mode):
    smooth = np.broadcast_to(np.linspace(20, 230, 64)[:, None, None], (64, 48, 3)).astype(np.uint8)
    rgb = read(encoded(kind, Image.fromarray(smooth).convert(mode), quality=95)).rgb
    assert np.abs(rgb.astype(int) - smooth).mean() < 3


def png16(array: np.ndarray, colour: int) -> bytes:
    rows = b"".join(b"\0" + row.tobytes() for row in array.astype(">u2"))
    return png((array.shape[1], array.shape[0]), zlib.compress(rows), bits=16, colour=colour)


def tiff16(array: np.ndarray, order: str, compressed: bool) -> bytes:
    """16 bits per channel, which Pillow does not write. Of the two, deflate goes through libtiff."""
    height, width, channels = array.shape
    strip = array.astype(f"{order}u2").tobytes()
    strip = zlib.compress(strip) if compressed else strip
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    start = 8 + len(bits)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, 8),
        (259, 4, 1, 8 if compressed else 1),
    ]
    tags += [
        (262, 4, 1, 2),
        (273, 4, 1, start),
        (277, 4, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(strip)),
    ]
    tags += [(338, 4, 1, 2)] * (channels == 4)
    table = b"".join(struct.pack(f"{order}HHII", *tag) for tag in tags)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start + len(strip))
    return head + bits + strip + struct.pack(f"{order}H", len(tags)) + table + bytes(4)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_keeps_all_bits(colour, channels):
    stored = noise(5, 7, channels, np.uint16)
    check_16_bits(read(png16(stored, colour)).rgb, stored)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_tiff_keeps_all_bits(channels, order, compressed):
    stored = noise(5, 7, channels, np.uint16)
    check_16_bits(read(tiff16(stored, order, compressed)).rgb, stored)


def check_16_bits(rgb: np.ndarray, stored: np.ndarray) -> None:
    values, alpha = stored / 65535, 1
    if stored.shape[2] in (2, 4):
        values, alpha = values[..., :-1], values[..., -1:]
    assert rgb.dtype == np.float32
    np.testing.assert_allclose(rgb, np.broadcast_to(1 + (values - 1) * alpha, rgb.shape), atol=1e-6)


@pytest.mark.parametrize(("over", "wanted"), [("white", 255), ("black", 0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_parts_show_what_they_lie_over(mode, over, wanted):
    clear = Image.new("RGBA", (4, 3), (128, 128, 128, 0))
    clear.putpixel((1, 1), (128, 128, 128, 255))
    source = clear.quantize(4) if mode[0] == "P" else clear.convert(mode)
    if mode == "PA":
        source.putalpha(clear.getchannel("A"))
    picture = read(source if mode == "PA" else encoded("PNG", source), over=over)
    assert picture.rgb[0, 0].tolist() == [wanted] * 3
    assert abs(int(picture.rgb[1, 1, 0]) - 128) < 3
    assert picture.notes == (f"transparent parts are {over}",)


def test_half_transparent_pixels_are_mixed():
    assert read(np.array([[[100, 0, 200, 51]]], np.uint8)).rgb.tolist() == [[[224, 204, 244]]]
    half = np.array([[[0.5, 0, 1, 0.5]]], np.float32)
    np.testing.assert_allclose(read(half, over="black").rgb, [[[0.25, 0, 0.5]]])


def test_colour_key_of_png_is_transparency():
    source = Image.new("RGB", (3, 2), (1, 2, 3))
    assert (read(encoded("PNG", source, transparency=(1, 2, 3))).rgb == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_read(kind):
    frames = [Image.new("RGB", (9, 7), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(kind, frames[0], save_all=True, append_images=frames[1:], **options)
    assert (read(data).rgb == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "raw TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    options = {"TIFF": {"compression": "tiff_lzw"}, "WEBP": {"lossless": True}}.get(kind, {})
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(kind.removeprefix("raw "), Image.fromarray(noise(16, 24)), exif=exif, **options)
    picture = read(data)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    np.testing.assert_array_equal(picture.rgb, wanted)
    assert picture.notes == (() if orientation == 1 else (f"EXIF orientation {orientation} applied",))


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_orientations_that_do_not_exist_change_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert read(encoded("PNG", Image.fromarray(noise(4, 6)), exif=exif)).rgb.shape == (4, 6, 3)


def test_a_broken_exif_block_does_not_spoil_the_photograph():
    data = encoded("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xee" * 40)
    assert read(data).camera is None
    data = png((9, 7), zlib.compress(bytes(28 * 7)), chunk(b"eXIf", b"nonsense"))
    assert read(data).rgb.shape == (7, 9, 3)


# --- how it comes in ---


def test_all_kinds_of_source_give_the_same_picture(tmp_path):
    rgb = noise(12, 10)
    path = tmp_path / "picture.PNG"
    Image.fromarray(rgb).save(path)
    floats = rgb.astype(np.float32) / 255
    planes = torch.from_numpy(rgb).permute(2, 0, 1)
    with path.open("rb") as file, Image.open(path) as opened:
        sources = [
            path,
            str(path),
            path.read_bytes(),
            bytearray(path.read_bytes()),
            file,
            io.BytesIO(path.read_bytes()),
        ]
        sources += [opened, Image.fromarray(rgb), rgb, planes, planes[None], Picture(rgb)]
        for source in sources:
            np.testing.assert_array_equal(read(source).rgb, rgb)
    for source in (floats, floats.astype(float), planes / 255, (planes / 255).requires_grad_()):
        np.testing.assert_allclose(read(source).rgb, floats, atol=1e-7)


def test_grey_arrays_are_repeated():
    grey = noise(5, 6, 1)
    for source in (
        grey,
        grey[..., 0],
        torch.from_numpy(grey).permute(2, 0, 1),
        torch.from_numpy(grey[..., 0]),
    ):
        np.testing.assert_array_equal(read(source).rgb, np.repeat(grey, 3, axis=2))


def test_numbers_of_16_bits_and_half_precision_are_scaled():
    np.testing.assert_allclose(read(np.full((2, 3), 65535, np.uint16)).rgb, 1)
    assert read(torch.full((3, 2, 3), 0.5, dtype=torch.bfloat16)).rgb.dtype == np.float32
    assert read(np.full((2, 3), 1 + 1e-6)).rgb.max() == 1  # rounding errors of a resize elsewhere


def test_the_source_keeps_its_memory():
    rgb = noise(4, 5)
    read(rgb).rgb[:] = 7
    np.testing.assert_array_equal(rgb, noise(4, 5))


def test_the_name_of_a_file_does_not_matter(tmp_path):
    for name in ("photo.JPG", "photo.txt", "photo", "фото.png", "a\nb.jpg"):
        (tmp_path / name).write_bytes(encoded("WEBP"))
        assert read(tmp_path / name).rgb.shape == (45, 67, 3)


def test_signatures_know_every_format_that_is_read():
    for kind in image.SIGNATURES:
        if kind != "HEIC":
            assert sniff(encoded(kind.upper().replace(" ", ""))[:16]) == kind
    assert sniff(b"\0\0\0\x18ftypheic\0\0\0\0") == "HEIC"
    assert sniff(b"") is None


# --- cameras ---


def exif_with_focal_length(f35: int, orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0xA405] = f35
    return exif


@pytest.mark.parametrize("orientation", [1, 6])
def test_camera_comes_from_exif_for_the_upright_image(orientation):
    data = encoded("JPEG", Image.fromarray(noise(24, 36)), exif=exif_with_focal_length(50, orientation))
    picture = read(data)
    size = (36, 24) if orientation == 1 else (24, 36)
    assert (picture.camera.width, picture.camera.height) == size
    assert picture.camera.fx == pytest.approx(50)
    assert picture.camera_source == "exif"


def test_a_given_camera_wins_and_must_fit_the_upright_image():
    data = encoded("JPEG", Image.fromarray(noise(24, 36)), exif=exif_with_focal_length(50, 6))
    given = Camera.from_fov(24, 36, horizontal=60)
    assert read(data, camera=given).camera is given
    assert read(data, camera=given).camera_source == "given"
    assert read(read(data), camera=given).camera is given
    with pytest.raises(CameraError, match="36x24 image, the upright image is 24x36"):
        read(data, camera=Camera.from_fov(36, 24, horizontal=60))


# --- what is refused ---


BAD_INPUTS = 103


@pytest.fixture(scope="module")
def bad_inputs(tmp_path_factory) -> list[tuple[Path, str]]:
    return write_all(tmp_path_factory.mktemp("bad"))


def test_the_list_of_bad_inputs_is_complete(bad_inputs):
    assert len(bad_inputs) in (BAD_INPUTS, BAD_INPUTS + 1)  # root may read every file, others may not
    assert len({path for path, _ in bad_inputs}) == len(bad_inputs)


@pytest.mark.parametrize("number", range(BAD_INPUTS))
def test_a_bad_file_ends_in_one_clear_line(bad_inputs, number, capfd, caplog):
    path, word = bad_inputs[number]
    with pytest.raises(ImageError) as caught:  # a warning would be an error of its own
        read(path)
    message = str(caught.value)
    assert word in message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")  # libraries below Pillow write there by themselves
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((0, 5, 3), np.uint8), "5x0 pixels, at least 1x1"),
        (np.zeros((5, 0), np.uint8), "0x5 pixels, at least 1x1"),
        (np.zeros((3, 40, 50), np.uint8), r"\[3, 40, 50\], \[H,W,C\] is needed: use array.transpose"),
        (np.zeros((40, 50, 2), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((40, 50, 5), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((2, 40, 50, 3), np.uint8), "1, 3 or 4 channels"),
        (np.zeros(7, np.uint8), "1, 3 or 4 channels"),
        (np.float32(3), "float32 is not an image"),
        (np.zeros((4, 5), bool), "bool; uint8, uint16, or floats"),
        (np.zeros((4, 5), np.int64), "int64; uint8"),
        (np.zeros((4, 5), np.int8), "int8; uint8"),
        (np.zeros((4, 5), complex), "complex128; uint8"),
        (np.zeros((4, 5), object), "object; uint8"),
        (np.full((4, 5), np.nan), "NaN or infinite"),
        (np.full((4, 5), np.inf), "NaN or infinite"),
        (np.array([[0.0, np.nan, 1.0]]), "NaN or infinite"),
        (np.full((4, 5), 254.0), "from 254 to 254, in .* divide by 255"),
        (np.full((4, 5), -1.0), "from -1 to -1, in .* scale them"),
        (torch.zeros(40, 50, 3), r"\[40, 50, 3\], one \[C,H,W\].*permute"),
        (torch.zeros(2, 3, 40, 50), r"\[2, 3, 40, 50\], one \[C,H,W\]"),
        (torch.zeros(3, 0, 50), "50x0 pixels"),
        (torch.zeros(3, 4, 5, dtype=torch.int32), "int32; uint8"),
        (torch.full((3, 4, 5), torch.nan), "NaN or infinite"),
        (torch.full((3, 4, 5), 2.0), "from 2 to 2"),
        (Image.new("RGB", (0, 0)), "0x0 pixels"),
        (Image.new("F", (3, 2), 7.5), "from 7.5 to 7.5"),
        (Image.new("I", (3, 2), -1), "32-bit integers from -1 to -1"),
        (b"", "empty"),
        (b"no image at all", "not an image"),
        (io.BytesIO(), "empty"),
        (io.StringIO("text"), "opened as text"),
        (None, "NoneType is not an image"),
        (42, "int is not an image"),
        ({"image": 1}, "dict is not an image"),
        ("", "no such file"),
        ("nul\0.jpg", "cannot be opened"),
        ("https://example.org/cat.jpg", "no such file; download it first"),
    ],
)
def test_a_bad_source_in_memory_ends_in_one_clear_line(source, words):
    with pytest.raises(ImageError, match=words) as caught:
        read(source)
    assert "\n" not in str(caught.value)


def test_an_image_from_a_closed_or_cut_file_is_an_error_too(tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(encoded("PNG")[:2000])
    with Image.open(path) as opened, pytest.raises(ImageError, match="cut.png: damaged or cut short PNG"):
        read(opened)
    with pytest.raises(ImageError, match="cut.png: damaged"):
        read(opened)


def test_names_are_printed_on_one_line(tmp_path):
    path = tmp_path / "a\nb\udcff.jpg"
    with contextlib.suppress(OSError):  # some file systems take no such names
        path.write_bytes(b"text")
    with pytest.raises(ImageError, match=r"a\\nb\\udcff.jpg: "):
        read(path)


def test_a_picture_has_the_very_name_of_its_file_and_messages_escape_it(tmp_path):
    path = str(tmp_path / "10.00\u202fAM.png")
    Image.new("RGB", (3, 2)).save(path)
    with open(path, "rb") as file, Image.open(path) as opened:
        assert {read(source).name for source in (path, file, opened)} == {path}
    with pytest.raises(CameraError, match=r"10\.00\\u202fAM\.png: the camera is of a 4x4 image"):
        read(path, camera=Camera.from_fov(4, 4, horizontal=60))


def test_the_pixel_limit_is_checked_before_decoding():
    data = png((3000, 2000), b"never decoded")
    with pytest.raises(ImageError, match=r"3000x2000 = 6000000 pixels, at most 5000000 .* --max-pixels"):
        read(data, max_pixels=5_000_000)
    with pytest.raises(ImageError, match="damaged"):
        read(data, max_pixels=6_000_000)


def test_the_pixel_limit_can_be_raised_beyond_pillows_own(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read(encoded("PNG"), max_pixels=10_000).rgb.shape == (45, 67, 3)
    with pytest.raises(ImageError, match="3015 pixels, at most 2500 .* --max-pixels"):
        read(encoded("PNG"), max_pixels=2500)


def test_pillows_settings_are_as_before():
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    level = logging.getLogger("PIL").level
    threads = [threading.Thread(target=lambda: [read(encoded("JPEG")) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    with pytest.raises(ImageError):
        read(png((200_000_000, 1), b""), max_pixels=10**9)
    for thread in threads:
        thread.join()
    assert before == Image.MAX_IMAGE_PIXELS
    assert filters == list(warnings.filters)
    assert level == logging.getLogger("PIL").level


def test_an_unknown_background_is_refused():
    with pytest.raises(UsageError, match="'white' or 'black'"):
        read(noise(2, 3), over="pink")


def test_heic_is_read_where_the_extra_is_installed():
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra 'heif'")
    smooth = np.broadcast_to(np.linspace(20, 230, 64)[:, None, None], (64, 48, 3)).astype(np.uint8)
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(smooth)).save(out)
    assert np.abs(read(out.getvalue()).rgb.astype(int) - smooth).mean() < 3
    with pytest.raises(ImageError, match="damaged or cut short HEIC"):
        read(out.getvalue()[:200])


def test_heic_names_the_extra_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"HEIC needs the extra 'heif'; pip install '\.\[heif\]'"):
        read(b"\0\0\0\x18ftypheic" + bytes(40))
