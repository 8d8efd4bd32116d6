"""`results.json`: what is no whole one is refused in one line, wherever it is read."""

from __future__ import annotations

import json

import pytest
import run_folders

from leadline.errors import SaveError
from leadline.evaluate import results
from leadline.report import load

WHOLE = {"schema": 1, "protocols": {}, "results": [], "ranks": {}}


@pytest.mark.parametrize(
    "document",
    [
        {"schema": 1},
        [1],
        WHOLE | {"results": {}},
        WHOLE | {"results": ["small"]},
        WHOLE | {"results": [{"model": "small"}]},
        WHOLE | {"protocols": None},
    ],
)
def test_a_document_that_lacks_something_is_damaged(tmp_path, document):
    (tmp_path / "results.json").write_text(json.dumps(document))
    for read in (results.read, lambda folder: load.read([folder])):
        with pytest.raises(SaveError, match=r"results\.json: damaged: delete it and run again"):
            read(tmp_path)


def test_whole_documents_are_read(tmp_path):
    made = [
        run_folders.result(tmp_path, "small", "nyuv2", 0.1),
        run_folders.oracle(tmp_path, "ab", "kitti", 0.1),
    ]
    assert len(results.read(run_folders.save(tmp_path, made))["results"]) == 2
    (tmp_path / "results.json").write_text(json.dumps(WHOLE | {"schema": 2}))
    with pytest.raises(SaveError, match="of form 2, 1 is known here: update leadline"):
        results.read(tmp_path)
