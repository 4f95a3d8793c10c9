"""With a certificate the port serves TLS, and plain HTTP to this machine alone."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme

from footfall.supervisor.gateway import GatewayOptions, render, validate
from footfall.v1 import realtime_pb2, realtime_pb2_grpc
from tests.gateway.conftest import Gateway, running_gateway
from tests.gateway.http1 import ask, read


@dataclass(frozen=True)
class Identity:
    """A server's certificate and key, and the authority that vouches for it."""

    certificate: Path
    key: Path
    authority: Path


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    made = Identity(folder / "server.pem", folder / "server-key.pem", folder / "authority.pem")
    made.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(made.key)
    authority.cert_pem.write_to_path(made.authority)
    return made


@pytest.fixture(scope="module")
def gateway(identity: Identity) -> Iterator[Gateway]:
    with running_gateway(tls=(identity.certificate, identity.key)) as gateway:
        yield gateway


def test_rest_over_tls(gateway: Gateway, identity: Identity) -> None:
    context = ssl.create_default_context(cafile=str(identity.authority))
    connection = http.client.HTTPSConnection("localhost", gateway.port, context=context, timeout=30)
    connection.request("GET", "/1/timeseries/1/2")
    answer = read(connection.getresponse())
    connection.close()
    assert answer.status == 200
    assert ["x-forwarded-proto", "https"] in json.loads(answer.body)["metadata"]


def test_grpc_over_tls(gateway: Gateway, identity: Identity) -> None:
    credentials = grpc.ssl_channel_credentials(identity.authority.read_bytes())
    with grpc.secure_channel(f"localhost:{gateway.port}", credentials) as channel:
        stub = realtime_pb2_grpc.RealtimeServiceStub(channel)
        assert stub.GetSources(realtime_pb2.GetSourcesRequest(site="x")).sources


def test_plain_http_stays_on_this_machine(gateway: Gateway, identity: Identity) -> None:
    assert ask(gateway.port, "GET", "/v1/sources?site=x").status == 200
    configuration = render(GatewayOptions(tls=(identity.certificate, identity.key)))
    # No other address than this machine's own is at hand here, so the rule itself is looked at.
    assert "{transport_protocol: raw_buffer, source_type: SAME_IP_OR_LOOPBACK}" in configuration
    assert validate(configuration) == ""


def test_without_a_certificate_nothing_of_tls_is_left() -> None:
    configuration = render(GatewayOptions())
    assert "#tls " not in configuration.replace("`#tls `", "")
    assert "transport_socket" not in configuration
