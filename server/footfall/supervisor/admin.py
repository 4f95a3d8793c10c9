"""Envoy's administration interface, over its unix socket."""

from __future__ import annotations

import http.client
import json
import socket
import time
from pathlib import Path


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("envoy", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class EnvoyAdmin:
    """Questions and orders to one Envoy. Every method raises OSError while it does not answer."""

    def __init__(self, path: Path, timeout_s: float = 2.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def request(self, method: str, target: str) -> str:
        """Return the body of a successful answer; any other answer is an OSError."""
        connection = _UnixConnection(self._path, self._timeout_s)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            body = answer.read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"Envoy's answer to {target} cannot be read.") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise OSError(f"Envoy answered {answer.status} to {target}.")
        return body

    def port(self, listener: str = "public") -> int:
        """Return the port that a listener really has; OSError while it has none."""
        document = json.loads(self.request("GET", "/listeners?format=json"))
        for status in document.get("listener_statuses", ()):
            if status["name"] == listener:
                port = int(status["local_address"]["socket_address"]["port_value"])
                if port:
                    return port
        raise OSError(f"Envoy does not listen as {listener!r} yet.")

    def serves(self) -> bool:
        """Tell whether Envoy has started and its cluster's server is known to be healthy."""
        if self.request("GET", "/server_info").find('"state": "LIVE"') < 0:
            return False
        clusters = json.loads(self.request("GET", "/clusters?format=json"))
        hosts = [
            host["health_status"]
            for cluster in clusters.get("cluster_statuses", ())
            for host in cluster.get("host_statuses", ())
        ]
        return bool(hosts) and all(not (set(status) - {"eds_health_status"}) for status in hosts)

    def drain(self) -> None:
        """Stop accepting connections, and ask the ones there are to close."""
        self.request("POST", "/drain_listeners?graceful&skip_exit")

    def active_requests(self) -> int:
        """Return how many requests are being served."""
        name = "http.public.downstream_rq_active"
        text = self.request("GET", f"/stats?filter=^{name}$")
        return int(text.rpartition(":")[2] or 0)

    def wait_idle(self, timeout_s: float) -> None:
        """Return when no request is being served, or after the timeout."""
        deadline = time.monotonic() + timeout_s
        while self.active_requests() and time.monotonic() < deadline:
            time.sleep(0.05)
