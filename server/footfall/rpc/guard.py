"""Reading requests where the gRPC library would wait for ever, or tell too much."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from footfall.rpc.call import Context
from footfall.rpc.status import INTERNAL_MESSAGE

log = structlog.get_logger("footfall.rpc")


async def only_message(context: Context) -> bytes | None:
    """Return the bytes of a call's one message, None if its caller ended without a whole one."""
    raw: Any = await context.read()
    return None if raw is grpc.aio.EOF else raw


def guarded(handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler of a method that is not ours (health, reflection), for which a request that
    is missing or malformed is its caller's fault, and whose errors say nothing of the inside.
    """
    serialize = handler.response_serializer

    async def read_all(context: Context) -> AsyncIterator[Any]:
        while (raw := await only_message(context)) is not None:
            yield await _decoded(handler, raw, context)

    async def read(context: Context) -> Any:
        return await _decoded(handler, await only_message(context), context)

    async def unary(_: Any, context: Context) -> Any:
        try:
            return await handler.unary_unary(await read(context), context)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is masked
            await _mask(error, context)

    async def stream(_: Any, context: Context) -> None:
        try:
            if handler.unary_stream is not None:
                await handler.unary_stream(await read(context), context)
                return
            async for answer in handler.stream_stream(read_all(context), context):
                await context.write(answer)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is masked
            await _mask(error, context)

    if handler.unary_unary is not None:
        return grpc.stream_unary_rpc_method_handler(unary, None, serialize)
    return grpc.stream_stream_rpc_method_handler(stream, None, serialize)


async def _decoded(handler: Any, raw: bytes | None, context: Context) -> Any:
    """Return a request; ends the call where there is none."""
    if raw is not None:
        with contextlib.suppress(DecodeError):
            return handler.request_deserializer(raw)
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The request is not a valid message.")
    return None  # unreachable: it raises


async def _mask(error: Exception, context: Context) -> None:
    """End a call that has failed, unless it was ended on purpose."""
    if isinstance(error, grpc.aio.BaseError | grpc.aio.AbortError):
        raise error
    if isinstance(error, NotImplementedError):
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "There is no such method.")
    log.error("call failed", exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE)
