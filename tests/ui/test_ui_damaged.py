"""The app where records are torn, empty or foreign: every page is drawn, the run is shown as damaged."""

import pytest

from tests.support.broken_runs import DAMAGES, KINDS, RECORDS, finished
from ui.account import SpaceSettings
from ui.pushes import Publications
from ui.state import Workbench, known_run, newest_artifact
from ui.train.publish import finished as publishable
from ui.train.tab import draw


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_record_stops_no_page(kind, home):
    (home / "runs").mkdir(parents=True)
    good = finished(home / "runs" / "good")
    bad = KINDS[kind](home / "runs" / "bad")
    workbench = Workbench(settings=SpaceSettings())
    for path in [path for path in bad.path.iterdir() if path.name in RECORDS]:
        content = path.read_bytes()
        for damaged in (*DAMAGES.values(), content[: len(content) // 2], None):
            path.unlink()
            path.mkdir() if damaged is None else path.write_bytes(damaged)
            panel, runs = draw(workbench, "bad")
            assert ">good<" in runs and "finished" in runs
            if kind in ("push", "push-data"):
                Publications().look("ada")
            else:
                state = known_run("bad").status().state
                assert f"tt-state {state}" in panel and f"tt-state {state}" in runs
                assert "can&#x27;t be used" in panel or state != "damaged", panel
            assert newest_artifact() in {str(run.artifact) for run in (good, bad)}
            assert "good" in publishable()
        path.rmdir()
        path.write_bytes(content)
