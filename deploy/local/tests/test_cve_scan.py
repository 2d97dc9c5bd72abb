"""`.ci/cve.py` against a server that answers as OSV's API does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
VULNERABLE = {("PyPI", "grpcio"), ("Go", "stdlib"), ("Maven", "org.apache.kafka:kafka_2.13")}


class _Osv(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        packages = [(query["package"]["ecosystem"], query["package"]["name"]) for query in queries]
        results = [{"vulns": [{"id": "X-2"}, {"id": "X-1"}]} if package in VULNERABLE else {} for package in packages]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"results": results}).encode())

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def osv() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Osv) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def scan(database: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CARLIEN_OSV_URL": database}
    return subprocess.run([sys.executable, ".ci/cve.py"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_names_what_is_vulnerable_in_every_ecosystem(osv: str) -> None:
    result = scan(osv)
    assert result.returncode == 1, result.stderr
    findings = [line for line in result.stdout.splitlines() if line.endswith(": X-1, X-2")]
    assert {tuple(finding.split()[:2]) for finding in findings} == VULNERABLE


def test_says_that_it_was_skipped_where_the_database_is_out_of_reach() -> None:
    result = scan("http://127.0.0.1:9")
    assert result.returncode == 0
    assert "SKIPPED, nothing was looked up" in result.stdout
