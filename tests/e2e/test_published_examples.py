"""The examples of the published API of family A, as they are printed there, against this service.

Only the key, the tracker and the host are put in; how they are sent and read is the client's own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Site, live
from tests.e2e.service import Service
from tests.tools import needs

CURL = r"""
curl -H "Authorization: Bearer nm_YOUR_KEY" \
"https://api.nowmetrix.com/v1/realtime?site=TRACKER_ID"
"""

JAVASCRIPT = """
const res = await fetch(
"https://api.nowmetrix.com/v1/realtime?site=TRACKER_ID",
{ headers: { Authorization: "Bearer nm_YOUR_KEY" } }
);
const data = await res.json();
console.log(data.total_realtime, "users live");
"""

PYTHON = """
import requests
r = requests.get(
"https://api.nowmetrix.com/v1/realtime",
params={"site": "TRACKER_ID"},
headers={"Authorization": "Bearer nm_YOUR_KEY"},
)
data = r.json()
print(data["total_realtime"], "users live")
"""

PHP = r"""<?php
$ch = curl_init("https://api.nowmetrix.com/v1/realtime?site=TRACKER_ID");
curl_setopt_array($ch, [
CURLOPT_RETURNTRANSFER => true,
CURLOPT_HTTPHEADER => ["Authorization: Bearer nm_YOUR_KEY"],
]);
$data = json_decode(curl_exec($ch), true);
echo $data["total_realtime"] . " users live\n";
"""


@pytest.mark.parametrize(
    ("command", "name", "example"),
    [
        ("bash", "example.sh", CURL),
        ("node", "example.mjs", JAVASCRIPT),
        (sys.executable, "example.py", PYTHON),
        pytest.param("php", "example.php", PHP, marks=needs("PHP", shutil.which("php"))),
    ],
    ids=["curl", "JavaScript", "Python", "PHP"],
)
def test_published_example(
    service: Service, site: Site, tmp_path: Path, command: str, name: str, example: str
) -> None:
    views = [
        {"url": f"https://{site.host}/", "visitor_id": visitor} for visitor in ("a", "b", "b", "c")
    ]
    path = f"/v1/collect?site={site.id}"
    assert service.post_json(path, views, site.bearer).json["accepted"] == 4
    live(service, site, lambda seen: seen.total_realtime == 3)
    for published, ours in (
        ("https://api.nowmetrix.com", service.rest),
        ("nm_YOUR_KEY", site.key),
        ("TRACKER_ID", site.id),
    ):
        assert published in example
        example = example.replace(published, ours)
    (tmp_path / name).write_text(example)

    def run() -> str:
        done = subprocess.run(
            [command, str(tmp_path / name)], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    if command == "bash":
        assert '"total_realtime":3,' in run()
    else:
        assert run() == "3 users live\n"
