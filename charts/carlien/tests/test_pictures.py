"""`pictures.py` against a server that answers as Prometheus does: every panel can be drawn, an empty one is named."""

import json
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

CHART = Path(__file__).parents[1]
LABELS = dict.fromkeys(("job", "instance", "kind", "grpc_method", "model_version", "stage"), "this one")


class _Prometheus(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urllib.parse.urlparse(self.path)
        asked = urllib.parse.parse_qs(url.query)
        result: dict[str, Any] = {"metric": LABELS}
        if url.path.endswith("query_range"):
            result["values"] = [[float(asked["start"][0]) + 60 * n, "NaN" if n == 0 else str(n)] for n in range(10)]
        else:
            result["value"] = [float(asked["time"][0]), "2"]
        nothing = "margin" in self.server.empty and "MARGIN_CALL" in asked["query"][0]  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"status": "success", "data": {"result": [] if nothing else [result]}}).encode())

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def prometheus() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), _Prometheus) as server:
        server.empty = ""  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def drawn(prometheus: HTTPServer, folder: Path) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{prometheus.server_port}"
    command = [sys.executable, str(CHART / "pictures.py"), "--prometheus", url, "--out", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_dashboard_is_drawn(prometheus: HTTPServer, tmp_path: Path) -> None:
    result = drawn(prometheus, tmp_path)
    assert result.returncode == 0, result.stderr
    dashboards = {file.stem for file in (CHART / "files" / "dashboards").glob("*.json")}
    assert {file.stem for file in tmp_path.glob("*.png")} == dashboards
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in tmp_path.iterdir())


def test_an_empty_panel_is_named(prometheus: HTTPServer, tmp_path: Path) -> None:
    prometheus.empty = "margin"  # type: ignore[attr-defined]
    result = drawn(prometheus, tmp_path)
    assert result.returncode == 1
    assert result.stderr == "no data: lending: In a margin call\n"
