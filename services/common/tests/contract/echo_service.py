"""A service with one rpc of each kind, made without generated code, that fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import StringValue

from carlien_common.domain.errors import DomainError, ErrorKind, invalid, precondition
from carlien_common.grpc.context import current_caller, remaining_deadline
from carlien_common.tracing import current_traceparent

NAME = "carlien.test.v1.EchoService"
KINDS = {"Unary": (False, False), "ServerStream": (False, True), "ClientStream": (True, False), "BidiStream": (True, True)}
WRITER = "Writer"
RPCS = [*KINDS, WRITER]


def _descriptor() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="carlien/test/v1/echo_service.proto",
        package="carlien.test.v1",
        dependency=["google/protobuf/wrappers.proto"],
        syntax="proto3",
    )
    service = file.service.add(name="EchoService")
    for name, (client, server) in {**KINDS, WRITER: (False, True)}.items():
        service.method.add(
            name=name,
            input_type=".google.protobuf.StringValue",
            output_type=".google.protobuf.StringValue",
            client_streaming=client,
            server_streaming=server,
        )
    pool = descriptor_pool.Default()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName(NAME)


DESCRIPTOR = _descriptor()


def _error(kind: str, argument: str) -> Exception:
    if kind == "kind":
        return DomainError(ErrorKind[argument], f"REASON_{argument}", "told to")
    if kind == "fields":
        both = [*invalid("a", "A_BAD", "a is bad").violations, *invalid("b.c", "C_BAD", "c is bad").violations]
        return DomainError(ErrorKind.INVALID, "SEVERAL", "several", both)
    if kind == "metadata":
        return precondition("FIRST_RANK_TAKEN", "taken", registration_number=argument)
    return TimeoutError() if kind == "timeout_error" else RuntimeError(argument)


def _answer(kind: str, argument: str) -> str:
    if kind == "caller":
        caller = current_caller()
        return f"{caller.org}/{caller.role}"
    if kind == "deadline":
        return str(remaining_deadline())
    if kind == "trace":
        return current_traceparent() or ""
    return "x" * int(argument) if kind == "big" else ""


class Echo:
    """Answers with what it got, or does what the text says."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()

    async def act(self, text: str, context: Any) -> StringValue:
        self.started.set()
        kind, _, argument = text.partition(":")
        if kind in ("kind", "secret", "fields", "metadata", "timeout_error"):
            raise _error(kind, argument)
        if kind == "abort":
            await context.abort(grpc.StatusCode[argument], "told to")
        if kind == "set_code":
            context.set_code(grpc.StatusCode[argument])
        if kind == "hang":
            await self._hang()
        return StringValue(value=_answer(kind, argument) or text)

    async def _hang(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def unary(self, request: StringValue, context: Any) -> StringValue:
        return await self.act(request.value, context)

    async def server_stream(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="first")
        yield await self.act(request.value, context)

    async def client_stream(self, requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        answer = StringValue()
        async for request in requests:
            answer = await self.act(request.value, context)
        return answer

    async def bidi_stream(self, requests: AsyncIterator[StringValue], context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield await self.act(request.value, context)

    async def writer(self, request: StringValue, context: Any) -> None:
        await context.write(await self.act(request.value, context))


def add_to_server(echo: Echo, server: Any) -> None:
    parse, serialize = StringValue.FromString, StringValue.SerializeToString
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo.unary, parse, serialize),
        "ServerStream": grpc.unary_stream_rpc_method_handler(echo.server_stream, parse, serialize),
        "ClientStream": grpc.stream_unary_rpc_method_handler(echo.client_stream, parse, serialize),
        "BidiStream": grpc.stream_stream_rpc_method_handler(echo.bidi_stream, parse, serialize),
        WRITER: grpc.unary_stream_rpc_method_handler(echo.writer, parse, serialize),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))


def start(channel: grpc.aio.Channel, rpc: str, text: str, **options: Any) -> Any:
    """Starts a call of any kind with one request."""
    request = StringValue(value=text)
    options.setdefault("timeout", 20)

    async def one() -> AsyncIterator[StringValue]:
        yield request

    client, server = KINDS.get(rpc, (False, True))
    make = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[client, server]
    call: Any = make(f"/{NAME}/{rpc}", StringValue.SerializeToString, StringValue.FromString)
    return call(one() if client else request, **options)


async def ask(channel: grpc.aio.Channel, rpc: str, text: str, **options: Any) -> list[str]:
    """Calls an rpc of any kind with one request and returns all answers."""
    call = start(channel, rpc, text, **options)
    if rpc in ("Unary", "ClientStream"):
        return [(await call).value]
    return [answer.value async for answer in call]
