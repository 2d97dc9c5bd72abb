"""What the one interceptor costs a call: an empty rpc with and without it, both behind mTLS, in one process.

Counted is the processor time of the event loop's thread, where all of our code runs: neither other work on the machine nor
gRPC's own threads count. The rounds take turns, so that warming up and garbage fall on both sides alike.
"""

import statistics
import tempfile
import time
from pathlib import Path

import grpc
from google.protobuf.empty_pb2 import Empty

from benchmarks.measure import Figure, Session
from carlien_common.grpc.credentials import CertificateFiles, channel_credentials, server_credentials
from carlien_common.grpc.interceptor import Access, CallInterceptor
from carlien_common.grpc.policy import Policy
from carlien_common.testing.pki import Pki

SERVICE = "carlien.benchmark.v1.EmptyService"
ROUNDS, CALLS = 60, 200
TARGET_S = 30e-6


async def _nothing(request: Empty, context: object) -> Empty:
    return request


def _server(interceptor: CallInterceptor | None, files: CertificateFiles) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(_nothing, Empty.FromString, Empty.SerializeToString)
    (interceptor or server).add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Call": handler}),))
    if interceptor is not None:
        server.add_generic_rpc_handlers((interceptor,))
    return server, server.add_secure_port("127.0.0.1:0", server_credentials(files))


async def cost(rounds: int = ROUNDS, calls: int = CALLS) -> tuple[float, float]:
    """Seconds of processor time per call, client and server together: without the interceptor, and what it adds."""
    with tempfile.TemporaryDirectory() as folder:
        mine = Pki(Path(folder)).certificate("org1", "service")
        files = CertificateFiles(mine.certificate, mine.key, mine.authorities)
        policy = Policy({f"/{SERVICE}/Call": frozenset({"service"})})
        servers = [_server(None, files), _server(CallInterceptor(Access("org1", policy, 1e6), 30.0), files)]
        for server, _ in servers:
            await server.start()
        channels = [grpc.aio.secure_channel(f"127.0.0.1:{port}", channel_credentials(files)) for _, port in servers]
        stubs = [channel.unary_unary(f"/{SERVICE}/Call", Empty.SerializeToString, Empty.FromString) for channel in channels]
        spent: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds + 2):
            for stub, times in zip(stubs, spent, strict=True):
                began = time.thread_time()
                for _ in range(calls):
                    await stub(Empty(), timeout=30)
                if number >= 2:
                    times.append((time.thread_time() - began) / calls)
        for channel in channels:
            await channel.close()
        for server, _ in servers:
            await server.stop(None)
    return statistics.median(spent[0]), statistics.median(after - before for before, after in zip(*spent, strict=True))


async def run(_: Session) -> list[Figure]:
    """Measure the interceptor's cost per call."""
    bare, extra = await cost()
    return [
        Figure("interceptor, processor time per call", extra, "s", bare, extra / bare, f"<= {TARGET_S * 1e6:.0f} us", extra <= TARGET_S)
    ]
