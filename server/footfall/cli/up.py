"""`footfall up`: the whole service on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click

from footfall.cli.demo import (
    Demo,
    ensure_demo,
    keep_visitors,
    send_demo_events,
    write_demo_environment,
)
from footfall.cli.gateway import tls_options, tls_pair
from footfall.cli.options import data_option
from footfall.settings import Settings
from footfall.supervisor.child import StartFailedError
from footfall.supervisor.rundir import RunDirectory
from footfall.supervisor.stack import Stack, StackOptions

DAY_S = 86_400


@click.command(epilog="Example: footfall up --demo")
@data_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    envvar="FOOTFALL_PORT",
    show_envvar=True,
    help="Port for REST and gRPC; 0 picks a free one.",
)
@click.option("--demo", is_flag=True, help="Create a demo account once, send it events, show how.")
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the addresses here, as JSON, once everything serves.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="How much the server logs.  [default: FOOTFALL_LOG_LEVEL or info]",
)
@tls_options
def command(
    settings: Settings,
    host: str,
    port: int,
    ready_file: Path | None,
    log_level: str | None,
    *,
    demo: bool,
    **tls: Path | None,
) -> int:
    """Start everything on this machine: Valkey, the stores, the gRPC server and the gateway.

    Whatever crashes is started again. Ctrl-C stops it all; the data stay where they are.
    """
    options = StackOptions(
        data=settings.data_dir,
        host=host,
        port=port,
        tls=tls_pair(**tls),
        log_level=log_level or settings.log_level,
        drain_s=settings.drain_s,
    )
    try:
        with RunDirectory(settings.data_dir) as directory:
            stack = Stack(options, directory, _say)
            try:
                return asyncio.run(_run(stack, settings, ready_file, demo=demo))
            finally:
                if ready_file is not None:
                    ready_file.unlink(missing_ok=True)
    except StartFailedError as error:
        raise click.ClickException(str(error)) from None


async def _run(stack: Stack, settings: Settings, ready_file: Path | None, *, demo: bool) -> int:
    """Run the stack until a signal comes; return the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    current = asyncio.current_task()

    def on_signal() -> None:
        if not stop.is_set():
            stop.set()
            if not serving and current is not None:
                current.cancel()
        else:
            stack.kill()  # asked twice: at once

    serving = False
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    started = time.monotonic()
    try:
        async with stack.running() as keeper:
            made = await asyncio.to_thread(_prepare_demo, stack, settings) if demo else None
            serving = True
            _say(f"Footfall is ready, after {time.monotonic() - started:.1f} s.\n")
            click.echo(_addresses(stack, settings))
            click.echo(_demo_text(stack, made) if made else _first_steps(settings))
            if ready_file is not None:
                where = {"rest": stack.rest, "grpc": stack.grpc, "metrics": stack.metrics}
                await asyncio.to_thread(_write_atomically, ready_file, where)
            waiter = asyncio.create_task(stop.wait())
            visitors = asyncio.create_task(keep_visitors(stack.rest, made)) if made else None
            await asyncio.wait({keeper, waiter}, return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
            if visitors is not None:
                visitors.cancel()
            _say("Stopping …")
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        _say("Stopped before it was ready.")
        return 1
    if not stop.is_set():
        keeper.result()  # says why the children could not be kept
    _say("Stopped.")
    return 0


def _prepare_demo(stack: Stack, settings: Settings) -> Demo:
    demo = ensure_demo(settings)
    send_demo_events(stack.rest, demo)
    write_demo_environment(settings, demo, stack.rest, stack.grpc)
    return demo


def _say(line: str) -> None:
    click.echo(line)
    with contextlib.suppress(OSError):
        sys.stdout.flush()


def _addresses(stack: Stack, settings: Settings) -> str:
    return (
        f"  REST        {stack.rest}\n"
        f"  gRPC        {stack.grpc}\n"
        f"  dashboard   {stack.rest}/dashboard\n"
        f"  metrics     {stack.metrics}\n"
        f"  data        {settings.data_dir.absolute()}\n"
        f"  logs        {settings.data_dir.absolute() / 'logs'}\n"
    )


def _first_steps(settings: Settings) -> str:
    data = shlex.quote(str(settings.data_dir))
    return (
        "Next, in another terminal:\n"
        f"  footfall account create news --data {data}\n"
        f"  footfall app create checkout --account news --data {data}\n"
        f"  footfall site create news.example.com --account news --data {data}\n"
        "Ctrl-C stops everything."
    )


def _demo_text(stack: Stack, demo: Demo) -> str:
    now = int(time.time())
    start, end = now - now % DAY_S - DAY_S, now - now % DAY_S + DAY_S
    call = (
        "import grpc; from footfall.v1 import realtime_pb2 as m, realtime_pb2_grpc as s; "
        f'print(s.RealtimeServiceStub(grpc.insecure_channel("{stack.grpc}")).GetRealtime('
        f'm.GetRealtimeRequest(site="{demo.site}"), '
        f'metadata=[("authorization", "Bearer {demo.key}")]))'
    )
    return (
        f"Demo site {demo.site}\n"
        f"  API key     {demo.key}\n"
        f"Demo application {demo.application}\n"
        f"  write key   {demo.write_key}\n"
        f"  read key    {demo.read_key}\n"
        "\n"
        "Ask how many requests each method had, by REST:\n"
        f"  curl -H 'X-Auth-User: {demo.application}' -H 'X-Auth-Key: {demo.read_key}' "
        f"'{stack.rest}/1/timeseries/{start}/{end}/?group=method'\n"
        "\n"
        "Ask who is on the site now, by gRPC:\n"
        f"  {shlex.quote(sys.executable)} -c '{call}'\n"
        "\n"
        "`. <data>/demo.env` sets all of these as FOOTFALL_… variables. Ctrl-C stops everything."
    )


def _write_atomically(path: Path, document: Mapping[str, str]) -> None:
    """Write a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(document) + "\n")
    draft.replace(path)
