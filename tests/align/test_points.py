"""Points as text, in the ways that people write them."""

from __future__ import annotations

import pytest

from leadline.align import read_points
from leadline.errors import DataError

WANTED = [[1.5, 2.0, 3.25], [10.0, 20.5, 0.5]]


@pytest.mark.parametrize(
    "text",
    [
        "1.5,2,3.25\n10,20.5,0.5\n",
        "x,y,depth_m\n1.5,2,3.25\n10,20.5,0.5",
        "\ufeffx;y;depth\r\n1.5;2;3.25\r\n10;20.5;0.5\r\n",
        "1.5 2 3.25\n\n10\t20.5\t0.5",
        "# by tape\n1.5, 2, 3.25  # the door\n10, 20.5, 0.5,",
        '"Z","name","y","x"\n3.25,door,2,1.5\n0.5,wall,20.5,10',
        "u,v,z\n1,1.5,3.25\n9.5,20,.5",
        "id,x,y,depth_m,err\n,1.5,2,3.25,0.1\n,10,20.5,0.5,\n,,,,\n",
        ",x,y,depth_m\n0,1.5,2,3.25\n1,10,20.5,0.5",  # pandas leaves the name of its index empty
        "\tx\tnote\ty\tdepth_m\n0\t1.5\t\t2\t3.25\n\t10\twall\t20.5\t0.5",
        "1.5 ,\t2 ,\t3.25\n  10  20.5  0.5",
    ],
)
def test_points_are_read_however_they_are_written(text, tmp_path):
    (tmp_path / "points.csv").write_bytes(text.encode())
    assert read_points(tmp_path / "points.csv").tolist() == WANTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2,3\n1,2\n", "line 2: '1 2', three numbers"),
        (b"1,2,3\n\n1,two,3\n", "line 3: '1 two 3'"),
        (b"x,y,colour\n1,2,3\n", "line 1: the columns are x, y, colour, none is depth_m or depth"),
        (b"\xff\xfe\x00", "not text"),
    ],
)
def test_what_is_no_list_of_points_is_named_with_its_line(content, message, tmp_path):
    (tmp_path / "points.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_points(tmp_path / "points.csv")
    assert "points.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_points(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("# nothing yet\n")
    assert read_points(tmp_path / "empty.csv").shape == (0, 3)
