"""Where an artifact came from is read as typed facts, whatever its record lacks."""

import json

import pytest

from inference.common.errors import ArtifactError
from tests.support import REPOSITORY
from training.runs.provenance import Provenance, read_provenance, write_provenance

BEFORE = REPOSITORY / "tests" / "fixtures" / "2026-11" / "run" / "artifact"


def test_a_record_of_before_is_read():
    record = json.loads((BEFORE / "provenance.json").read_text())
    found = read_provenance(BEFORE)
    assert (found.base.name, found.base.hub_id, found.base.commit) == ("tiny-gpt2", None, None)
    assert found.data.source.name == "tweets.csv" and found.data.source.hub_id is None
    assert found.data.rows["train"].used == found.sizes["train"] == 200
    assert found.settings == record["recipe"] and found.recipe.learning_rate == 0.005
    assert found.machine.gpu == "", "null is nothing"
    assert found.versions["torch"] == record["versions"]["torch"]


def test_what_is_written_is_read_again(tmp_path):
    commit = "c" * 40
    source = {"name": "crew/posts", "kind": "hub", "location": "crew/posts:en"}
    write_provenance(
        tmp_path, {"base": {"name": "ada/base", "revision": commit}, "data": {"source": source}, "seed": 7}
    )
    found = read_provenance(tmp_path)
    assert (found.base.hub_id, found.base.commit, found.seed) == ("ada/base", commit, 7)
    assert (found.data.source.hub_id, found.data.source.config) == ("crew/posts", "en")
    assert found.machine.cores > 0 and found.versions["python"]


def test_no_record_is_empty_and_a_strange_one_is_said(tmp_path):
    assert read_provenance(tmp_path) == Provenance()
    (tmp_path / "provenance.json").write_text('{"data": {"source": {"kind": ["hub"]}}}')
    with pytest.raises(
        ArtifactError, match=r"provenance\.json can't be used \(data\.source\.kind: .*\)\. Write"
    ):
        read_provenance(tmp_path)
