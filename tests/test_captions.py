"""Captions: by names, by a captioner that is asked once for each picture, or refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leadline import captions, image
from leadline.errors import UsageError
from leadline.image import Picture


def picture(seed=0, name="photos/a.jpg"):
    return Picture(np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8), name=name)


class Captioner:
    name = "someone/captioner"

    def __init__(self):
        self.asked = 0

    def __call__(self, pictures):
        self.asked += len(pictures)
        return [f"a picture of {x.mean():.0f}, größer" for x in pictures]


def test_a_captioner_is_asked_once_for_a_picture(tmp_path, monkeypatch):
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path))
    captioner = Captioner()
    asked = captions.Asked(captioner)
    first = asked(picture())
    assert asked(picture(name="elsewhere/b.png")) == captions.Asked(captioner)(picture()) == first
    assert captioner.asked == 1
    assert asked(picture(1)) != first
    captioner.name = "another"
    asked(picture())
    assert captioner.asked == 3


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "file"))
    captioner = Captioner()
    asked = captions.Asked(captioner)
    assert asked(picture()) == asked(picture())
    assert captioner.asked == 2


@pytest.mark.parametrize("name", ["photos/a.jpg", "a.jpg", "a"])
def test_captions_go_by_names(name):
    said = captions.by({name: "a house"})
    assert said(picture()) == "a house"
    assert said(picture(name="photos/b.jpg")) == ""


def test_captions_are_found_by_names_that_print_as_escapes(tmp_path):
    path = tmp_path / "Screenshot 10.00\u202fAM.png"  # of macOS
    Image.new("RGB", (5, 4)).save(path)
    assert captions.by({path.name: "a menu"})(image.read(path)) == "a menu"


def test_one_caption_serves_all():
    assert captions.by("a street")(picture()) == "a street"
    assert captions.by("")(picture()) == ""
    assert captions.by(lambda p: p.name)(picture()) == "photos/a.jpg"


def test_what_is_asked_has_a_name_that_changes_with_it():
    one, other = (str(captions.by({"a": words})) for words in ("a house", "a tree"))
    assert one != other
    assert str(captions.Asked(Captioner())) == "by someone/captioner"


def test_a_file_names_pictures(tmp_path):
    (tmp_path / "c.json").write_text('{"a.jpg": "a house"}')
    assert captions.choose(str(tmp_path / "c.json"))(picture()) == "a house"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("a house", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('["a house"]', "holds list"),
        ('{"a.jpg": 3}', "'a.jpg' has no caption"),
        ('{"a.jpg": "' + "a" * 3000 + '"}', "'a.jpg' has no caption"),
    ],
)
def test_a_file_without_captions_is_refused(tmp_path, content, message):
    file = tmp_path / "c.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=message):
        captions.choose(str(file))
