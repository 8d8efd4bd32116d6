import os

import numpy as np
import pytest
import torch

from leadline import errors
from leadline.errors import LeadlineError, ShapeError, UsageError, check_shape, nearest, printable


def test_a_message_is_one_line_whatever_it_quotes():
    assert str(LeadlineError("first\n  second\tthird")) == "first second third"


def test_names_of_files_are_printed_on_one_line_in_plain_letters():
    name = os.fsdecode(b"two\nlines \xff \x1b[31m") + " \u00e9"
    assert printable(name).encode() == "two\\nlines \\udcff \\x1b[31m \u00e9".encode()


def test_every_error_can_be_caught_as_one_class():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert len(classes) >= 10
    assert all(issubclass(c, LeadlineError) for c in classes)


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_sizes_of_letters_are_returned(make):
    assert check_shape(make((2, 3, 4, 5)), "B 3 H W") == {"B": 2, "H": 4, "W": 5}


def test_a_letter_is_one_size_throughout():
    assert check_shape(np.zeros((4, 4)), "N N") == {"N": 4}
    with pytest.raises(ShapeError, match=r"\[N, N\]"):
        check_shape(np.zeros((4, 5)), "N N")


def test_known_sizes_are_compared_and_named():
    with pytest.raises(
        ShapeError, match=r"valid: the shape is \[4, 5\], \[H, W\] is needed with H = 4, W = 6"
    ):
        check_shape(np.zeros((4, 5)), "H W", "valid", H=4, W=6)


@pytest.mark.parametrize("shape", [(3,), (7, 3), (1, 2, 3)])
def test_dots_stand_for_any_leading_axes(shape):
    assert check_shape(np.zeros(shape), "... 3") == {}


@pytest.mark.parametrize(
    ("shape", "pattern"),
    [((), "... 3"), ((4,), "... 3"), ((3,), "... H 3"), ((1, 3), "3"), ((), "H"), ((2,), "1")],
)
def test_too_few_axes_and_wrong_numbers_are_refused(shape, pattern):
    with pytest.raises(ShapeError):
        check_shape(np.zeros(shape), pattern)


def test_no_pattern_means_a_scalar():
    assert check_shape(np.float32(1), "") == {}


@pytest.mark.parametrize(
    ("word", "wanted"), [("depht", "depth"), ("Depth", "depth"), ("normal", "normals"), ("", None)]
)
def test_nearest_finds_slips_of_the_pen(word, wanted):
    assert nearest(word, ["depth", "normals"]) == wanted


def test_usage_errors_are_leadline_errors():
    with pytest.raises(LeadlineError):
        raise UsageError("no such model: 'smal', did you mean 'small'?")
