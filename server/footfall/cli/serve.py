"""`footfall serve`: the gRPC server alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import uvloop

from footfall.app import preload, serve
from footfall.logs import configure_server_logs
from footfall.settings import Settings
from footfall.supervisor.forking import forked


@click.command(
    "serve",
    epilog="Example: FOOTFALL_REDIS_URL=redis://10.0.0.5 footfall serve --listen 0.0.0.0:50051",
)
@click.option(
    "--data",
    "data_dir",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the embedded stores.  [FOOTFALL_DATA]",
)
@click.option(
    "--listen",
    "grpc_listen",
    metavar="ADDRESSES",
    help="Where to serve gRPC: HOST:PORT or unix:PATH, several separated by commas."
    "  [FOOTFALL_GRPC_LISTEN]",
)
@click.option(
    "--metrics-listen",
    metavar="HOST:PORT",
    help="Where to serve Prometheus metrics.  [FOOTFALL_METRICS_LISTEN]",
)
@click.option(
    "--fork",
    "forks",
    is_flag=True,
    help="Load everything, and start in a new process for each line on standard input; tell its"
    " process id and its exit code on standard output.",
)
def command(*, forks: bool, **options: Any) -> None:
    """Start the gRPC server alone, for a deployment.

    Everything is set by environment variables, which docs/settings.md lists; these options win
    over theirs. SIGTERM lets calls in flight finish. Logs are JSON, on standard error.
    """
    given = {name: value for name, value in options.items() if value is not None}
    settings = Settings.from_env(**given)
    configure_server_logs(settings.log_level)
    preload(settings)
    if forks and not forked():
        return
    uvloop.run(serve(settings))
