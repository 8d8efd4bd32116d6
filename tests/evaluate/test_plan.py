"""Words of a command: what is a label, and what a model or folder."""

from __future__ import annotations

import pytest

from leadline.evaluate.plan import labelled


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("small", (None, "small")),
        ("mine=small", ("mine", "small")),
        ("=small", (None, "small")),
        ("runs/lr=3e-5/model", (None, "runs/lr=3e-5/model")),
        ("mine=runs/lr=3e-5/model", ("mine", "runs/lr=3e-5/model")),
        ("mine=runs/lr=1/gone", ("mine", "runs/lr=1/gone")),
    ],
)
def test_a_label_ends_at_the_first_sign_unless_the_whole_is_a_folder(tmp_path, monkeypatch, word, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "lr=3e-5" / "model").mkdir(parents=True)
    assert labelled(word) == expected
