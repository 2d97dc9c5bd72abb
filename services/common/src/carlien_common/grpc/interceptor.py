"""What happens around every call: metrics, errors, deadline, trace context, caller identity, authorisation, rate limit.

The service's handlers are registered here instead of at the server. grpc.aio's own interceptors would cost each call a third more
(a coroutine per interceptor, and the metadata read a second time). Everything that depends on the rpc alone (its metrics, who may call
it, its handler) is worked out at its first call and kept, so that a call pays only for what differs from call to call.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias, cast

import grpc
from grpc.aio import AbortError, InternalError

from carlien_common import metrics, spans, tracing
from carlien_common.domain.errors import DomainError, denied, invalid
from carlien_common.failures import as_domain_error
from carlien_common.grpc import context as call_context
from carlien_common.grpc import errors
from carlien_common.grpc.context import Caller
from carlien_common.grpc.identity import caller_of
from carlien_common.grpc.limits import RateLimit
from carlien_common.grpc.policy import Policy
from carlien_common.logs import get_logger

log = get_logger(__name__)

ServicerContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Authorise = Callable[["grpc.aio.ServicerContext[Any, Any]"], Caller]
Parse: TypeAlias = Callable[[bytes], Any]
_OK: Final = grpc.StatusCode.OK
# Served to whoever has a certificate of our CA: they tell nothing a caller could misuse.
OPEN_SERVICES: Final = ("grpc.health.", "grpc.reflection.")
# Spans of these failed through our fault; the others told the caller what it did wrong (semantic conventions for RPC).
SERVER_FAULTS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


class Access:
    """Who may call what, and how often. Without `policy` (plaintext) every caller is the own org with role `insecure`, unlimited."""

    def __init__(self, org: str, policy: Policy | None, calls_per_second: float = 0.0) -> None:
        self._org = org
        self._policy = policy
        self._limit = RateLimit(calls_per_second) if calls_per_second else None

    def check(self, path: str) -> Authorise:
        """A function that names the caller of this rpc or raises UNAUTHENTICATED, DENIED or EXHAUSTED."""
        if self._policy is None:
            anyone = Caller(self._org, "insecure", "")
            return lambda _: anyone
        if path.startswith(tuple(f"/{service}" for service in OPEN_SERVICES)):
            guest = Caller("", "", "")
            return lambda _: guest
        org, roles, limit = self._org, self._policy.roles(path), self._limit

        def authorise(context: ServicerContext) -> Caller:
            caller = caller_of(context.auth_context())
            if caller.org != org:
                raise denied("ORG_NOT_ALLOWED", f"This deployment belongs to {org}; a certificate of {caller.org} isn't accepted.")
            if caller.role not in roles:
                raise denied("ROLE_NOT_ALLOWED", f"Role {caller.role} may not call {path}.")
            if limit is not None:
                limit.take(caller.spiffe_id)
            return caller

        return authorise


class Running:
    """One call being handled. Not a dataclass: made once per call, on the hot path."""

    __slots__ = ("budget_s", "span", "started")

    def __init__(self, budget_s: float | None, span: spans.Span | None) -> None:
        self.started = time.perf_counter()
        self.budget_s = budget_s
        self.span = span


class Rpc:
    """One rpc: its metrics with their labels bound, its access check, and what happens before and after every call."""

    def __init__(self, path: str, kind: str, authorise: Authorise, deserialize: Parse | None) -> None:
        _, service, method = path.split("/")
        labels = (kind, service, method)
        self.path = path
        self._name = path[1:]
        self._attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        self._authorise = authorise
        self._deserialize = deserialize
        self._started = metrics.GRPC_STARTED.labels(*labels)
        self._seconds = metrics.GRPC_SECONDS.labels(*labels)
        # A number of the event loop's own, read when Prometheus asks: cheaper than two changes of a gauge, which take its lock.
        self._running = 0
        metrics.GRPC_RUNNING.labels(*labels).set_function(lambda: self._running)
        self._handled = {code: metrics.GRPC_HANDLED.labels(*labels, code.name) for code in grpc.StatusCode}

    def start(self, context: ServicerContext) -> Running:
        """Counts the call and begins its span."""
        self._started.inc()
        self._running += 1
        span, tracer = None, spans.tracer()
        if tracer is not None:
            span = tracer.start(self._name, "server", tracing.caller_traceparent(), self._attributes)
            tracing.use(span.traceparent)
        return Running(cast("float | None", context.time_remaining()), span)

    def end(self, running: Running, failure: BaseException | None, context: ServicerContext) -> None:
        """Counts its end."""
        code = code_of(failure, context, running.budget_s)
        self._running -= 1
        self._handled[code].inc()
        self._seconds.observe(time.perf_counter() - running.started)
        if running.span is not None:
            name = code.name
            running.span.end(name if name in SERVER_FAULTS else "", {"rpc.grpc.status_code": code.value[0]})

    def admit(self, context: ServicerContext, remaining_s: float | None) -> None:
        """Makes the caller known to the code that handles the call, or raises why it may not call."""
        call_context.enter(self._authorise(context), remaining_s)

    def parse(self, raw: bytes) -> Any:
        """The request. grpc.aio itself would end one that can't be parsed as INTERNAL before any code of ours sees it."""
        if self._deserialize is None:
            return raw
        try:
            return self._deserialize(raw)
        except Exception:  # noqa: BLE001 - whatever a parser raises on foreign bytes, the bytes are wrong
            raise malformed() from None

    async def parsed(self, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """The requests of a stream."""
        async for raw in requests:
            yield self.parse(raw)

    def request(self, raw: Any, streaming: bool) -> Any:
        """What the handler gets."""
        return self.parsed(raw) if streaming else self.parse(raw)

    async def fail(self, error: BaseException, context: ServicerContext) -> NoReturn:
        """Ends the call with the status of the error; raises what grpc.aio expects then."""
        if isinstance(error, InternalError):
            # What grpc.aio raises when it writes to a caller that has gone: no failure of ours, and nobody to tell.
            raise AbortError("The caller has gone.") from error
        known = as_domain_error(error)
        if known is not None:
            code = errors.STATUS[known.kind]
            if known is not error:
                log.warning("dependency_failed", rpc=self.path, reason=known.reason, exc_info=error)
            await _abort(context, code, known.message[: errors.MAX_TEXT], errors.trailers(code, known))
        correlation_id = uuid.uuid4().hex
        log.error("call_failed", rpc=self.path, correlation_id=correlation_id, exc_info=error)
        code, text = grpc.StatusCode.INTERNAL, f"Internal error {correlation_id}."
        raw = errors.details(code, text, "INTERNAL", {"correlation_id": correlation_id}, ())
        await _abort(context, code, text, ((errors.DETAILS_KEY, raw),))

    async def expire(self, context: ServicerContext) -> NoReturn:
        """Ends a call whose deadline had passed on arrival, or that brought none and outlived the default one."""
        code, text = grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline has passed (calls that bring none get a default one)."
        await _abort(context, code, text, ((errors.DETAILS_KEY, errors.details(code, text, "DEADLINE_EXCEEDED", {}, ())),))


async def _abort(context: ServicerContext, code: grpc.StatusCode, text: str, trailers: tuple[tuple[str, bytes], ...]) -> NoReturn:
    try:
        await context.abort(code, text, trailers)
    except InternalError as error:
        raise AbortError("The caller has gone.") from error


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
        if error is None:
            return _OK
        # The caller had gone, see fail().
        return grpc.StatusCode.CANCELLED if isinstance(error, InternalError) else grpc.StatusCode.UNKNOWN
    return code


class CallInterceptor(grpc.GenericRpcHandler):
    """Stands in for the server where servicers are registered, and for their handlers at the server."""

    def __init__(self, access: Access, default_deadline_s: float) -> None:
        self._access = access
        self._default_deadline_s = default_deadline_s
        self._inner: list[Any] = []
        self._wrapped: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """What generated code calls on a server."""
        self._inner.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Generated code registers its handlers twice; the generic ones do."""

    def service(self, handler_call_details: Any) -> Handler | None:
        """The rpc's handler, wrapped once. None when there is no such rpc: grpc.aio answers UNIMPLEMENTED.

        grpc.aio asks in the task that then runs the handler, and has just read the metadata: reading it again costs 5 us.
        """
        header = None
        for key, value in handler_call_details.invocation_metadata:
            if key == tracing.HEADER:
                header = value
        tracing.enter(header if isinstance(header, str) else None)
        path: str = handler_call_details.method
        return self._wrapped.get(path) or self._find(path, handler_call_details)

    def _find(self, path: str, details: Any) -> Handler | None:
        for handlers in self._inner:
            handler = handlers.service(details)
            if handler is not None:
                wrapped = self._wrapped[path] = self._wrap(path, handler)
                return wrapped
        # Not by its name: a caller could make up any number of them.
        metrics.GRPC_HANDLED.labels("unknown", "unknown", "unknown", "UNIMPLEMENTED").inc()
        return None

    def _wrap(self, path: str, handler: Handler) -> Handler:
        authorise = self._access.check(path)
        parse, serialize = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            kind = "bidi_stream" if handler.request_streaming else "server_stream"
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            make = grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
            wrap = _generator if inspect.isasyncgenfunction(behaviour) else _writer
            return make(wrap(Rpc(path, kind, authorise, parse), behaviour, handler.request_streaming), None, serialize)
        kind = "client_stream" if handler.request_streaming else "unary"
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
        make = grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        default = None if handler.request_streaming else self._default_deadline_s
        return make(_unary(Rpc(path, kind, authorise, parse), behaviour, handler.request_streaming, default), None, serialize)


def _unary(rpc: Rpc, behaviour: Any, streaming: bool, default_s: float | None) -> Any:
    """For rpcs with one response. A long client stream sets its own pace, so only single requests get a default deadline."""

    async def call(raw: Any, context: ServicerContext) -> Any:
        running = rpc.start(context)
        remaining = running.budget_s
        failure: BaseException | None = None
        try:
            limit = default_s if remaining is None else None
            if remaining is not None and remaining <= 0:
                await rpc.expire(context)
            rpc.admit(context, remaining if limit is None else limit)
            request = rpc.request(raw, streaming)
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
            rpc.end(running, failure, context)

    return call


def _generator(rpc: Rpc, behaviour: Any, streaming: bool) -> Any:
    """For rpcs that yield their responses."""

    async def call(raw: Any, context: ServicerContext) -> AsyncIterator[Any]:
        running = rpc.start(context)
        failure: BaseException | None = None
        try:
            rpc.admit(context, running.budget_s)
            # Closed here and not by the garbage collector, so that what the handler holds is let go when the client leaves.
            async with contextlib.aclosing(behaviour(rpc.request(raw, streaming), context)) as responses:
                async for response in responses:
                    yield response
        except BaseException as error:
            failure = error
            if isinstance(error, AbortError) or not isinstance(error, Exception):
                raise
            await rpc.fail(error, context)
        finally:
            rpc.end(running, failure, context)

    return call


def _writer(rpc: Rpc, behaviour: Any, streaming: bool) -> Any:
    """For rpcs that write their responses to the context."""

    async def call(raw: Any, context: ServicerContext) -> None:
        running = rpc.start(context)
        failure: BaseException | None = None
        try:
            rpc.admit(context, running.budget_s)
            await behaviour(rpc.request(raw, streaming), context)
        except BaseException as error:
            failure = error
            if isinstance(error, AbortError) or not isinstance(error, Exception):
                raise
            await rpc.fail(error, context)
        finally:
            rpc.end(running, failure, context)

    return call
