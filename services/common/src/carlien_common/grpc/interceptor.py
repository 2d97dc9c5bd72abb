"""The one server interceptor: metrics, errors, deadline, trace context, caller identity, authorisation.

Everything that depends on the rpc alone (its metrics, who may call it, its handler) is worked out at its first call and kept,
so that a call pays only for what differs from call to call.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn, TypeAlias, cast

import grpc
from grpc.aio import AbortError

from carlien_common import metrics, tracing
from carlien_common.domain.errors import DomainError, denied, invalid
from carlien_common.failures import as_domain_error
from carlien_common.grpc import context as call_context
from carlien_common.grpc import errors
from carlien_common.grpc.context import Caller
from carlien_common.grpc.identity import caller_of
from carlien_common.grpc.policy import Policy
from carlien_common.logs import get_logger

log = get_logger(__name__)

ServicerContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Authorise = Callable[["grpc.aio.ServicerContext[Any, Any]"], Caller]
_OK: Final = grpc.StatusCode.OK
# Served to whoever has a certificate of our CA: they tell nothing a caller could misuse.
OPEN_SERVICES: Final = ("grpc.health.", "grpc.reflection.")


class Malformed:
    """Stands for a request that isn't the protobuf it should be, until the handler's wrapper answers for it."""


_MALFORMED: Final = Malformed()


class Access:
    """Who may call what. Without `policy` (plaintext) every caller is the own org with role `insecure` and may everything."""

    def __init__(self, org: str, policy: Policy | None) -> None:
        self._org = org
        self._policy = policy

    def check(self, path: str) -> Authorise:
        """A function that names the caller of this rpc or raises UNAUTHENTICATED or DENIED."""
        if self._policy is None:
            anyone = Caller(self._org, "insecure", "")
            return lambda _: anyone
        if path.startswith(tuple(f"/{service}" for service in OPEN_SERVICES)):
            guest = Caller("", "", "")
            return lambda _: guest
        org, roles = self._org, self._policy.roles(path)

        def authorise(context: ServicerContext) -> Caller:
            caller = caller_of(context.auth_context())
            if caller.org != org:
                raise denied("ORG_NOT_ALLOWED", f"This deployment belongs to {org}; a certificate of {caller.org} isn't accepted.")
            if caller.role not in roles:
                raise denied("ROLE_NOT_ALLOWED", f"Role {caller.role} may not call {path}.")
            return caller

        return authorise


class Rpc:
    """One rpc: its metrics with their labels bound, its access check, and what happens before and after every call."""

    def __init__(self, path: str, kind: str, authorise: Authorise) -> None:
        _, service, method = path.split("/")
        labels = (kind, service, method)
        self.path = path
        self._authorise = authorise
        self._started = metrics.GRPC_STARTED.labels(*labels)
        self._seconds = metrics.GRPC_SECONDS.labels(*labels)
        self._running = metrics.GRPC_RUNNING.labels(*labels)
        self._handled = {code: metrics.GRPC_HANDLED.labels(*labels, code.name) for code in grpc.StatusCode}

    def start(self) -> float:
        """Counts the call."""
        self._started.inc()
        self._running.inc()
        return time.perf_counter()

    def end(self, started: float, code: grpc.StatusCode) -> None:
        """Counts its end."""
        self._running.dec()
        self._handled[code].inc()
        self._seconds.observe(time.perf_counter() - started)

    def enter(self, context: ServicerContext, remaining_s: float | None) -> None:
        """Trace context and caller, or the reason why not."""
        header = None
        for key, value in context.invocation_metadata() or ():
            if key == tracing.HEADER:
                header = value
        tracing.enter(header if isinstance(header, str) else None)
        call_context.enter(self._authorise(context), remaining_s)

    async def fail(self, error: BaseException, context: ServicerContext) -> NoReturn:
        """Ends the call with the status of the error; raises what grpc.aio expects then."""
        known = as_domain_error(error)
        if known is not None:
            code = errors.STATUS[known.kind]
            if known is not error:
                log.warning("dependency_failed", rpc=self.path, reason=known.reason, exc_info=error)
            await context.abort(code, known.message[: errors.MAX_TEXT], errors.trailers(code, known))
        correlation_id = uuid.uuid4().hex
        log.error("call_failed", rpc=self.path, correlation_id=correlation_id, exc_info=error)
        code, text = grpc.StatusCode.INTERNAL, f"Internal error {correlation_id}."
        raw = errors.details(code, text, "INTERNAL", {"correlation_id": correlation_id}, ())
        await context.abort(code, text, ((errors.DETAILS_KEY, raw),))

    async def expire(self, context: ServicerContext) -> NoReturn:
        """Ends a call whose deadline had passed on arrival, or that brought none and outlived the default one."""
        code, text = grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline has passed (calls that bring none get a default one)."
        await context.abort(code, text, ((errors.DETAILS_KEY, errors.details(code, text, "DEADLINE_EXCEEDED", {}, ())),))


def malformed() -> DomainError:
    """A message that can't be parsed: no protobuf, or text that isn't UTF-8."""
    return invalid("", "MALFORMED_REQUEST", "The request isn't a valid message of this rpc (is every text UTF-8?).")


def code_of(error: BaseException | None, context: ServicerContext, budget_s: float | None) -> grpc.StatusCode:
    """The status a call ended with, for the metrics. `budget_s` is the time it had at its start."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        # grpc.aio cancels the handler for a passed deadline and for a client that left alike. The client's own clock runs out
        # first, because the deadline is rounded up on the wire (to about one per cent).
        remaining = cast("float | None", context.time_remaining())
        if remaining is None or budget_s is None or remaining > 0.02 * budget_s + 0.02:
            return grpc.StatusCode.CANCELLED
        return grpc.StatusCode.DEADLINE_EXCEEDED
    # None until someone has set it, whatever the stubs say.
    code = cast("grpc.StatusCode | None", context.code())
    if code is None or code is _OK:
        return _OK if error is None else grpc.StatusCode.UNKNOWN
    return code


def _lenient(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """By default a request that can't be parsed ends as INTERNAL before any handler of ours sees it."""

    def parse(raw: bytes) -> Any:
        if deserialize is None:
            return raw
        try:
            return deserialize(raw)
        except Exception:  # noqa: BLE001 - whatever a parser raises on foreign bytes, the bytes are wrong
            return _MALFORMED

    return parse


async def _wellformed(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if request is _MALFORMED:
            raise malformed()
        yield request


class CallInterceptor(grpc.aio.ServerInterceptor):
    """See the module's docstring."""

    def __init__(self, access: Access, default_deadline_s: float) -> None:
        self._access = access
        self._default_deadline_s = default_deadline_s
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The rpc's handler, wrapped once. None when there is no such rpc: grpc.aio answers UNIMPLEMENTED."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                # Not by its name: a caller could make up any number of them.
                metrics.GRPC_HANDLED.labels("unknown", "unknown", "unknown", "UNIMPLEMENTED").inc()
                return None
            wrapped = self._wrapped[path] = self._wrap(path, handler)
        return wrapped

    def _wrap(self, path: str, handler: Handler) -> Handler:
        authorise = self._access.check(path)
        parse, serialize = _lenient(handler.request_deserializer), handler.response_serializer
        if handler.response_streaming:
            kind = "bidi_stream" if handler.request_streaming else "server_stream"
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            make = grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
            rpc = Rpc(path, kind, authorise)
            wrap = _generator if inspect.isasyncgenfunction(behaviour) else _writer
            return make(wrap(rpc, behaviour, handler.request_streaming), parse, serialize)
        kind = "client_stream" if handler.request_streaming else "unary"
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
        make = grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        default = None if handler.request_streaming else self._default_deadline_s
        return make(_unary(Rpc(path, kind, authorise), behaviour, handler.request_streaming, default), parse, serialize)


def _checked(request: Any, streaming: bool) -> Any:
    if streaming:
        return _wellformed(request)
    if request is _MALFORMED:
        raise malformed()
    return request


def _unary(rpc: Rpc, behaviour: Any, streaming: bool, default_s: float | None) -> Any:
    """For rpcs with one response. A long client stream sets its own pace, so only single requests get a default deadline."""

    async def call(request: Any, context: ServicerContext) -> Any:
        started = rpc.start()
        failure: BaseException | None = None
        remaining = cast("float | None", context.time_remaining())
        try:
            limit = default_s if remaining is None else None
            if remaining is not None and remaining <= 0:
                await rpc.expire(context)
            rpc.enter(context, remaining if limit is None else limit)
            request = _checked(request, streaming)
            if limit is None:
                return await behaviour(request, context)
            timeout = asyncio.timeout(limit)
            try:
                async with timeout:
                    return await behaviour(request, context)
            except TimeoutError:
                if timeout.expired():
                    await rpc.expire(context)
                raise
        except BaseException as error:
            failure = error
            if isinstance(error, AbortError) or not isinstance(error, Exception):
                raise
            await rpc.fail(error, context)
        finally:
            rpc.end(started, code_of(failure, context, remaining))

    return call


def _generator(rpc: Rpc, behaviour: Any, streaming: bool) -> Any:
    """For rpcs that yield their responses."""

    async def call(request: Any, context: ServicerContext) -> AsyncIterator[Any]:
        started = rpc.start()
        failure: BaseException | None = None
        remaining = cast("float | None", context.time_remaining())
        try:
            rpc.enter(context, remaining)
            # Closed here and not by the garbage collector, so that what the handler holds is let go when the client leaves.
            async with contextlib.aclosing(behaviour(_checked(request, streaming), context)) as responses:
                async for response in responses:
                    yield response
        except BaseException as error:
            failure = error
            if isinstance(error, AbortError) or not isinstance(error, Exception):
                raise
            await rpc.fail(error, context)
        finally:
            rpc.end(started, code_of(failure, context, remaining))

    return call


def _writer(rpc: Rpc, behaviour: Any, streaming: bool) -> Any:
    """For rpcs that write their responses to the context."""

    async def call(request: Any, context: ServicerContext) -> None:
        started = rpc.start()
        failure: BaseException | None = None
        remaining = cast("float | None", context.time_remaining())
        try:
            rpc.enter(context, remaining)
            await behaviour(_checked(request, streaming), context)
        except BaseException as error:
            failure = error
            if isinstance(error, AbortError) or not isinstance(error, Exception):
                raise
            await rpc.fail(error, context)
        finally:
            rpc.end(started, code_of(failure, context, remaining))

    return call
