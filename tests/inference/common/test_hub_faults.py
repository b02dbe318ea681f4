"""The local Hub's faults, as the real client meets them: refusals, silence, broken and slow connections.

No fault may leave half of a commit behind, and after every one of them the same call goes through.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RepositoryNotFoundError

from inference.common.hub import Timeouts, hub_session
from tests.support import wait_for
from tests.support.hub_fixtures import ADA

COMMIT = "POST /api/models/ada/m/commit/main"


@pytest.fixture
def ada(online):
    """Return ada's HfApi, which nothing gives up for."""
    online.create_repo("ada/m", files={"a.txt": b"1"})
    with hub_session(Timeouts(answer_s=1.0, tries=9)):
        yield HfApi(token=ADA)


def push(api: HfApi, content: bytes = b"2"):
    return api.create_commit("ada/m", [CommitOperationAdd("a.txt", content)], commit_message="m")


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, None, BadRequestError),
        (401, None, HfHubHTTPError),
        (403, None, HfHubHTTPError),
        (404, "RepoNotFound", RepositoryNotFoundError),
        (409, None, HfHubHTTPError),
        (412, None, HfHubHTTPError),
        (429, None, HfHubHTTPError),
        (500, None, HfHubHTTPError),
        (503, None, HfHubHTTPError),
    ],
)
def test_a_refused_commit_changes_nothing_and_goes_through_the_next_time(hub, ada, status, code, error):
    hub.fail(COMMIT, status=status, code=code, headers={"Retry-After": "7"})
    with pytest.raises(error) as refusal:
        push(ada)
    assert refusal.value.response.status_code == status
    assert refusal.value.response.headers["Retry-After"] == "7"
    assert hub.files("ada/m") == {"a.txt": b"1"} and hub.faults.waiting == []
    push(ada)
    assert hub.files("ada/m") == {"a.txt": b"2"}


def test_what_the_client_tries_again_by_itself_gets_through(hub, ada):
    hub.fail("POST /api/models/*/preupload/*", status=503, times=1)
    push(ada)
    assert [r.route for r in hub.requests if "preupload" in r.path] == [
        "POST /api/models/ada/m/preupload/main"
    ] * 2


def test_silence_lasts_until_the_client_gives_up(hub, ada):
    hub.silence(COMMIT)
    with pytest.raises(httpx2.ReadTimeout):
        push(ada)
    assert hub.files("ada/m") == {"a.txt": b"1"}
    push(ada)


def test_a_client_without_a_time_out_hangs_on_silence_and_ends_with_the_server(hub, ada):
    hub.silence("GET /api/whoami-v2")
    code = "from huggingface_hub import whoami; whoami()"
    child = subprocess.Popen([sys.executable, "-c", code], env=hub.environment(ADA), stderr=subprocess.PIPE)
    wait_for(lambda: [r for r in hub.requests if r.path == "/api/whoami-v2"], 30)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(1)
    hub.ending.set()
    _, said = child.communicate(timeout=10)
    assert child.returncode != 0 and (b"RemoteProtocolError" in said or b"ReadError" in said)


def test_a_commit_cut_in_the_middle_is_no_commit(hub, ada):
    hub.cut(COMMIT, after_bytes=1000)
    with pytest.raises(httpx2.HTTPError):
        push(ada, os.urandom(100_000))
    assert hub.files("ada/m") == {"a.txt": b"1"}


def test_a_commit_whose_answer_is_lost_was_made(hub, ada):
    hub.lose(COMMIT)
    with pytest.raises(httpx2.HTTPError):
        push(ada)
    assert hub.files("ada/m") == {"a.txt": b"2"}
    assert push(ada).oid == hub.commits("ada/m")[-1].oid and len(hub.commits("ada/m")) == 3


def test_an_upload_cut_in_the_middle_keeps_nothing_and_is_sent_again(hub, ada):
    hub.lfs_over, content = 1000, os.urandom(3_000_000)
    hub.cut("PUT /put/*", after_bytes=1_000_000)
    ada.create_commit("ada/m", [CommitOperationAdd("model.bin", content)], commit_message="m")
    assert hub.files("ada/m")["model.bin"] == content
    assert [request.size for request in hub.requests if request.method == "PUT"] == [3_000_000] * 2


def test_parts_that_arrived_wrongly_make_no_file(hub, ada):
    hub.lfs_over, hub.part_size = 1000, 1_000_000
    hub.fail("POST /api/complete_multipart", status=400)
    with pytest.raises((HfHubHTTPError, RuntimeError)):
        push(ada, os.urandom(2_500_000))
    assert hub.files("ada/m") == {"a.txt": b"1"}


def test_a_download_cut_in_the_middle_is_an_error_and_leaves_no_file(hub, ada):
    hub.lfs_over, content = 1000, os.urandom(3_000_000)
    hub.create_repo("ada/large", files={"model.bin": content})
    hub.cut("GET /get/*", after_bytes=1_000_000)
    with pytest.raises(httpx2.ReadError):
        ada.hf_hub_download("ada/large", "model.bin")
    assert not list(Path(constants.HF_HUB_CACHE).glob("*/snapshots/*/*"))
    assert Path(ada.hf_hub_download("ada/large", "model.bin")).read_bytes() == content


def test_a_part_of_a_large_file_can_be_asked_for(hub, ada):
    hub.lfs_over = 1000
    hub.create_repo("ada/large", files={"model.bin": bytes(range(250)) * 20})
    url = f"{hub.endpoint}/ada/large/resolve/main/model.bin"
    answer = httpx2.get(url, headers={"Range": "bytes=4990-"}, follow_redirects=True)
    assert (answer.status_code, answer.content) == (206, bytes(range(240, 250)))
    assert answer.headers["Content-Range"] == "bytes 4990-4999/5000"


def test_a_slow_line_is_slow(hub, ada):
    hub.slow(COMMIT, bytes_per_s=20_000, times=1)
    began = time.monotonic()
    push(ada, os.urandom(12_000))  # 16 kB in base64
    assert 0.5 < time.monotonic() - began < 5


def test_faults_strike_in_the_order_they_were_added(hub, ada):
    hub.fail("GET /api/*", status=500)
    hub.fail("GET *", status=429, times=None)
    statuses = []
    for _ in range(3):
        with pytest.raises(HfHubHTTPError) as error:
            ada.model_info("ada/m")
        statuses.append(error.value.response.status_code)
    assert statuses == [500, 429, 429]
    hub.faults.clear()
    assert ada.model_info("ada/m").id == "ada/m"
