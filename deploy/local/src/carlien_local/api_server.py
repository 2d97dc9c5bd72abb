"""A Kubernetes API server without nodes, to try the chart against: etcd, kube-apiserver, kube-controller-manager.

Admission, validation and controllers are the real ones. There is no scheduler and no kubelet, so no container ever starts:
`Nodes` says in their place what becomes of each pod the controllers make. Binaries: deploy/kubernetes/build.sh.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from carlien_local.errors import StackError

START_S = 120.0
POLL_S = 0.2
CONTROLLERS = (
    "deployment-controller,replicaset-controller,job-controller,garbage-collector-controller,namespace-controller,"
    "serviceaccount-controller,disruption-controller,horizontal-pod-autoscaler-controller"
)
Object = dict[str, Any]


class Refused(Exception):
    """The API server's own answer to a request it didn't do: HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True)
class ApiServer:
    """Where it is and who we are there (cluster-admin)."""

    url: str
    kubeconfig: Path
    token: str
    trust: ssl.SSLContext

    def request(self, method: str, path: str, body: Object | None = None, content_type: str = "application/json") -> Object:
        """One call of the REST API; raises Refused, or URLError where nobody answers."""
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode())  # noqa: S310 - ours
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", content_type)
        try:
            with urllib.request.urlopen(request, context=self.trust, timeout=30) as answer:  # noqa: S310 - ours
                parsed: Object = json.load(answer)
                return parsed
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, json.load(error).get("message", "")) from error

    def get(self, path: str) -> Object:
        return self.request("GET", path)

    def create(self, path: str, body: Object) -> Object:
        return self.request("POST", path, body)

    def patch(self, path: str, change: Object) -> Object:
        """A JSON merge patch."""
        return self.request("PATCH", path, change, "application/merge-patch+json")

    def healthy(self) -> bool:
        try:
            request = urllib.request.Request(self.url + "/readyz")  # noqa: S310 - ours
            with urllib.request.urlopen(request, context=self.trust, timeout=5) as answer:  # noqa: S310 - ours
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def install_crd(self, definition: Object) -> None:
        """Create a custom resource and wait until it is served."""
        name = definition["metadata"]["name"]
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        self.create(path, definition)
        until(f"{name} is served", lambda: _is_established(self.get(f"{path}/{name}")))

    def namespaced(self, namespace: str) -> set[tuple[str, str]]:
        """(kind, name) of everything in a namespace, events apart."""
        found = set()
        groups = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in self.get("/apis")["groups"])]
        for group in groups:
            for resource in self.get(group)["resources"]:
                if resource["namespaced"] and "list" in resource["verbs"] and resource["kind"] != "Event":
                    listing = self.get(f"{group}/namespaces/{namespace}/{resource['name']}")
                    found |= {(resource["kind"], item["metadata"]["name"]) for item in listing["items"]}
        return found


def _is_established(definition: Object) -> bool:
    conditions = definition["status"]["conditions"] or ()
    return any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions)


@contextlib.contextmanager
def api_server(binaries: Path, folder: Path) -> Iterator[ApiServer]:
    """Run one in `folder` for the block. Raises StackError where a part doesn't start; its log is in the folder."""
    etcd_port, peer_port, port = _free_ports(3)
    etcd = f"http://127.0.0.1:{etcd_port}"
    url, token = f"https://127.0.0.1:{port}", secrets.token_hex(16)
    _write_keys(folder, token)
    certificate = folder / "apiserver.crt"
    with contextlib.ExitStack() as parts:
        parts.enter_context(
            _process(
                folder,
                "etcd",
                *("etcd", f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}"),
                *(f"--listen-peer-urls=http://127.0.0.1:{peer_port}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}"),
                *(f"--initial-cluster=default=http://127.0.0.1:{peer_port}", "--unsafe-no-fsync"),
            )
        )
        running = parts.enter_context(
            _process(
                folder,
                "kube-apiserver",
                *(str(binaries / "kube-apiserver"), f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", f"--secure-port={port}"),
                *("--advertise-address=127.0.0.1", f"--cert-dir={folder}", f"--token-auth-file={folder / 'tokens.csv'}"),
                *("--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none"),
                *("--service-account-issuer=https://carlien.test", f"--service-account-key-file={folder / 'accounts.pub'}"),
                f"--service-account-signing-key-file={folder / 'accounts.key'}",
            )
        )
        until("the API server makes its certificate", lambda: certificate.exists() or running.poll() is not None)
        _check(running, folder, "kube-apiserver")
        server = ApiServer(url, folder / "kubeconfig", token, ssl.create_default_context(cafile=str(certificate)))
        _write_kubeconfig(server, certificate)
        until("the API server is ready", lambda: server.healthy() or running.poll() is not None)
        _check(running, folder, "kube-apiserver")
        parts.enter_context(
            _process(
                folder,
                "kube-controller-manager",
                *(str(binaries / "kube-controller-manager"), f"--kubeconfig={server.kubeconfig}", f"--controllers={CONTROLLERS}"),
                *("--leader-elect=false", "--secure-port=0", f"--service-account-private-key-file={folder / 'accounts.key'}"),
            )
        )
        yield server


@contextlib.contextmanager
def _process(folder: Path, name: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.log").open("wb") as log:
        try:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        except FileNotFoundError as error:
            raise StackError(
                f"{error.filename} isn't there (etcd: apt-get install etcd-server; the others: deploy/kubernetes/build.sh)"
            ) from error
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _check(process: subprocess.Popen[bytes], folder: Path, name: str) -> None:
    if process.poll() is not None:
        raise StackError(f"{name} ended:\n{(folder / f'{name}.log').read_text(errors='replace')[-2000:]}")


def until(what: str, condition: Callable[[], bool], seconds: float = START_S) -> None:
    """Wait for it; raises StackError with `what` when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"gave up after {seconds:.0f} s: {what}")
        time.sleep(POLL_S)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _write_keys(folder: Path, token: str) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for name, content in (
        ("accounts.key", private),
        ("accounts.pub", public),
        ("tokens.csv", f'{token},admin,1,"system:masters"\n'.encode()),
    ):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)


def _write_kubeconfig(server: ApiServer, certificate: Path) -> None:
    cluster = {"server": server.url, "certificate-authority-data": base64.b64encode(certificate.read_bytes()).decode()}
    server.kubeconfig.touch(mode=0o600)
    server.kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "here", "cluster": cluster}],
                "users": [{"name": "admin", "user": {"token": server.token}}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
                "current-context": "here",
            }
        )
    )


@dataclass
class Nodes:
    """Says in the place of nodes and a cloud what becomes of things.

    Pods of Jobs succeed (or fail, where `jobs_fail`), others become ready; services of type LoadBalancer get an address.
    """

    server: ApiServer
    jobs_fail: bool = False
    _done: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[Nodes]:
        """For the block, for all namespaces."""
        thread = threading.Thread(target=self._run, name="nodes")
        thread.start()
        try:
            yield self
        finally:
            self._done.set()
            thread.join()

    def _run(self) -> None:
        while not self._done.wait(POLL_S):
            for pod in self.server.get("/api/v1/pods?fieldSelector=status.phase%3DPending")["items"]:
                if "deletionTimestamp" not in pod["metadata"]:
                    self._tell("pods", pod, self._becomes(pod))
            for service in self.server.get("/api/v1/services")["items"]:
                if service["spec"]["type"] == "LoadBalancer" and not service["status"]["loadBalancer"]:
                    self._tell("services", service, {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})

    def _tell(self, resource: str, one: Object, status: Object) -> None:
        metadata = one["metadata"]
        # What went meanwhile is no matter.
        with contextlib.suppress(Refused):
            self.server.patch(f"/api/v1/namespaces/{metadata['namespace']}/{resource}/{metadata['name']}/status", {"status": status})

    def _becomes(self, pod: Object) -> Object:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        of_job = pod["metadata"]["ownerReferences"][0]["kind"] == "Job"
        phase = ("Failed" if self.jobs_fail else "Succeeded") if of_job else "Running"
        ended = {"terminated": {"exitCode": int(self.jobs_fail), "startedAt": now, "finishedAt": now}}
        statuses = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": not of_job,
                "restartCount": 0,
                "state": ended if of_job else {"running": {"startedAt": now}},
            }
            for container in pod["spec"]["containers"]
        ]
        ready = {"type": "Ready", "status": "False" if of_job else "True", "lastTransitionTime": now}
        return {"phase": phase, "startTime": now, "conditions": [ready], "containerStatuses": statuses}
