"""The gateway over real sockets: who is heard, what is answered, and what one bad device can do to others."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.gb32960 import Command, Response, Version
from carlien_telematics.domain.access import Access
from carlien_telematics.domain.devices import Credential, OnlineReason
from carlien_telematics.gateway.limits import Limits
from carlien_telematics.testing.gateway import AT, ICCID, VIN, Bench, Device, login, message, record

OTHER = "LJ12EKR10D4000002"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is awaited is another object's state
            await asyncio.sleep(0.005)


async def logged_in(bench: Bench) -> Device:
    bench.access.allow()
    device = await bench.device()
    assert await device.ask(login()) == Response.SUCCESS
    return device


async def test_a_registered_device_with_consent_is_heard() -> None:
    async with Bench() as bench:
        device = await logged_in(bench)
        for command in (Command.REALTIME, Command.REISSUE):
            assert await device.ask(record(command=command)) == Response.SUCCESS
        for command in (Command.HEARTBEAT, Command.TIME_CHECK):
            assert await device.ask(message(command)) == Response.SUCCESS
        assert await device.ask(message(Command.LOGOUT, gb32960.encode_logout(gb32960.Logout(AT, 1)))) == Response.SUCCESS
        assert [frame.raw for frame in bench.publisher.frames] == [record(), record(command=Command.REISSUE)]
        assert bench.presence.reasons() == [OnlineReason.LOGIN, OnlineReason.LOGOUT]
        assert await device.ask(record()) == Response.ERROR
        await device.close()


@pytest.mark.parametrize(
    ("prepare", "first", "reason"),
    [
        (lambda b: None, login(), "NOT_REGISTERED"),
        (lambda b: b.access.allow(), login(iccid="89860000000000000002"), "CREDENTIAL"),
        (lambda b: b.access.allow(until=1.0), login(), "CONSENT_MISSING"),
        (lambda b: b.access.allow(), message(Command.LOGIN, b"\x18\x05\x06"), "BODY"),
        (lambda b: b.access.allow(), message(Command.LOGIN, b"\xff" * 30), "BODY"),
        (lambda b: b.access.allow(), record(), "NOT_LOGGED_IN"),
        (lambda b: b.access.allow(), message(Command.HEARTBEAT), "NOT_LOGGED_IN"),
        (lambda b: b.access.allow(), message(Command.HEARTBEAT, vin="\0" * 17), "NUL_VIN"),
        (lambda b: b.access.allow(), message(Command.PLATFORM_LOGIN), "BODY"),
        (lambda b: b.access.allow(), message(Command.KEY_EXCHANGE), "UNSUPPORTED"),
    ],
)
async def test_who_may_not_is_refused_and_counted(prepare: Callable[[Bench], None], first: bytes, reason: str) -> None:
    async with Bench() as bench:
        prepare(bench)
        device = await bench.device()
        assert await device.ask(first) == Response.ERROR
        assert bench.metrics.counts == {reason: 1}
        assert bench.publisher.frames == []
        await device.close()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (record(vin=OTHER), "VIN_MISMATCH"),
        (message(Command.REALTIME, gb32960.encode_time(AT), encryption=3), "ENCRYPTED"),
        (message(Command.REALTIME, b"\x18\x0d\x01\x00\x00\x00"), "DEVICE_TIME"),
        (message(Command.REALTIME, b"\x18"), "DEVICE_TIME"),
        (message(Command.REALTIME), "DEVICE_TIME"),
    ],
)
async def test_a_bad_record_is_refused_and_the_next_one_taken(raw: bytes, reason: str) -> None:
    async with Bench() as bench:
        device = await logged_in(bench)
        assert await device.ask(raw) == Response.ERROR
        assert bench.metrics.counts[reason] == 1
        assert await device.ask(record()) == Response.SUCCESS
        assert len(bench.publisher.frames) == 1
        await device.close()


async def test_2025_names_the_failure() -> None:
    async with Bench() as bench:
        device = await bench.device()
        assert await device.ask(login(version=Version.V2025)) == Response.VIN_UNKNOWN
        bench.access.allow()
        bench.book.forget(VIN)
        assert await device.ask(login(version=Version.V2025)) == Response.SUCCESS
        assert await device.ask(record(version=Version.V2025)) == Response.SUCCESS
        assert bench.publisher.frames[0].source_protocol == "GB32960_2025"
        await device.close()


async def test_who_guesses_credentials_is_cut_off() -> None:
    async with Bench(Limits(refused_logins=3)) as bench:
        bench.access.allow()
        device = await bench.device()
        for guess in range(3):
            assert await device.ask(login(iccid=f"8986000000000000010{guess}")) == Response.ERROR
        assert await device.closed()
        assert bench.metrics.counts == {"CREDENTIAL": 3}


async def test_answers_of_a_platform_are_counted_and_not_answered() -> None:
    async with Bench() as bench:
        device = await logged_in(bench)
        await device.send(gb32960.acknowledge(record(), Response.SUCCESS))
        assert await device.ask(message(Command.HEARTBEAT)) == Response.SUCCESS
        assert bench.metrics.counts["ACKNOWLEDGEMENT"] == 1
        await device.close()


async def test_login_and_records_in_one_packet_are_taken_in_order() -> None:
    async with Bench() as bench:
        bench.access.allow()
        device = await bench.device()
        raws = [record(n) for n in range(50)]
        await device.send(login(), *raws)
        assert [(await device.answer()).response for _ in range(51)] == [Response.SUCCESS] * 51
        assert [frame.raw for frame in bench.publisher.frames] == raws
        await device.close()


async def test_a_record_is_acknowledged_only_once_it_is_durable() -> None:
    async with Bench() as bench:
        device = await logged_in(bench)
        bench.publisher.held = []
        await device.send(record())
        await until(lambda: len(bench.publisher.frames) == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await device.answer()
        bench.publisher.settle(durable=True)
        assert (await device.answer()).response == Response.SUCCESS
        await device.close()


async def test_a_record_the_broker_lost_is_not_acknowledged() -> None:
    async with Bench() as bench:
        device = await logged_in(bench)
        bench.publisher.held = []
        await device.send(record())
        await until(lambda: len(bench.publisher.frames) == 1)
        bench.publisher.settle(durable=False)
        assert (await device.ask(message(Command.HEARTBEAT))) == Response.SUCCESS  # the next answer is not the record's
        assert bench.metrics.counts["BROKER_UNAVAILABLE"] == 1
        await device.close()


async def test_a_revoked_consent_stops_the_next_record() -> None:
    async with Bench() as bench:
        device = await logged_in(bench)
        assert await device.ask(record(1)) == Response.SUCCESS
        bench.access.allow(until=0.0)
        bench.book.forget(VIN)  # what the database's notice does
        assert await device.ask(record(2)) == Response.ERROR
        bench.access.allow()
        bench.book.forget(VIN)
        assert await device.ask(record(3)) == Response.SUCCESS
        assert [frame.raw for frame in bench.publisher.frames] == [record(1), record(3)]
        await device.close()


async def test_a_retired_device_is_refused_and_closed() -> None:
    async with Bench() as bench:
        device = await logged_in(bench)
        bench.access.cars[VIN] = Access(VIN, (), 4e9)
        bench.book.forget(VIN)
        assert await device.ask(record()) == Response.ERROR
        assert await device.closed()
        assert bench.presence.reasons()[-1] is OnlineReason.RETIRED


async def test_what_is_remembered_costs_no_query() -> None:
    async with Bench() as bench:
        device = await logged_in(bench)
        for number in range(20):
            await device.ask(record(number))
        assert bench.access.calls[VIN] == 1
        await device.close()


async def test_the_newer_connection_of_a_device_ends_the_older() -> None:
    async with Bench() as bench:
        older = await logged_in(bench)
        newer = await logged_in(bench)
        assert await older.closed()
        assert await newer.ask(record()) == Response.SUCCESS
        assert bench.presence.seen[-1].online
        await newer.close()


async def test_back_pressure_reaches_the_socket() -> None:
    limits = Limits(frames_in_flight=10, frames_in_flight_per_connection=1000)
    async with Bench(limits) as bench:
        device = await logged_in(bench)
        bench.publisher.held = []
        # more than one read's worth, or the socket would be empty before the gateway could stop reading it
        heavy = message(Command.REISSUE, gb32960.encode_time(AT) + b"\x90\x20\x00" + bytes(8192))
        sending = asyncio.create_task(device.send(*[heavy] * 300))
        await until(lambda: len(bench.publisher.frames) >= 10)
        await asyncio.sleep(0.1)
        assert len(bench.publisher.frames) < 300
        bench.publisher.settle(durable=True)
        bench.gateway.drained()
        await sending
        assert [(await device.answer()).response for _ in range(300)] == [Response.SUCCESS] * 300
        await device.close()


async def _silent_login(device: Device) -> None:
    await asyncio.sleep(0)


async def _half_a_frame(device: Device) -> None:
    await device.ask(login())
    await device.send(record()[:30])


async def _silence(device: Device) -> None:
    await device.ask(login())


@pytest.mark.parametrize(
    ("limits", "behave", "reason"),
    [
        (Limits(login_timeout_s=0.01), _silent_login, None),
        (Limits(frame_timeout_s=0.01), _half_a_frame, OnlineReason.FRAME_TIMEOUT),
        (Limits(idle_timeout_s=0.01), _silence, OnlineReason.IDLE_TIMEOUT),
    ],
)
async def test_who_is_too_slow_is_closed(limits: Limits, behave: Callable[[Device], Awaitable[None]], reason: OnlineReason | None) -> None:
    async with Bench(limits) as bench:
        bench.access.allow()
        device = await bench.device()
        await behave(device)
        assert await device.closed()
        assert bench.presence.reasons()[-1:] == ([reason] if reason else [])


async def test_a_slow_loris_and_a_flood_leave_others_alone() -> None:
    async with Bench(Limits(refused_messages=50)) as bench:
        good = await logged_in(bench)
        loris, flood = await bench.device(), await bench.device()
        noise = random.Random(7)
        for _ in range(60):
            await loris.send(b"#")
            if not flood.writer.is_closing():
                flood.writer.write(b"##" + noise.randbytes(4000))
            assert await good.ask(record(noise.randrange(5000))) == Response.SUCCESS
        await good.close()
        assert bench.metrics.counts["REALTIME"] == 60


async def test_connections_above_the_limit_are_refused() -> None:
    async with Bench(Limits(connections=2)) as bench:
        first, second = await logged_in(bench), await bench.device()
        third = await bench.device()
        with pytest.raises((ConnectionError, OSError)):
            await third.ask(login())
        await third.close()
        assert await first.ask(record()) == Response.SUCCESS
        await first.close()
        await second.close()


async def test_malformed_messages_are_counted_and_the_good_ones_beside_them_taken() -> None:
    async with Bench() as bench:
        device = await logged_in(bench)
        bad = bytearray(record(1))
        bad[-1] ^= 0xFF
        lying = bytearray(record(2))
        lying[23] += 2
        await device.send(record(3), bytes(bad), record(4), bytes(lying), record(5))
        assert [(await device.answer()).response for _ in range(3)] == [Response.SUCCESS] * 3
        assert [frame.raw for frame in bench.publisher.frames] == [record(3), record(4), record(5)]
        assert bench.metrics.counts["gb32960 CHECK_BYTE"] == 2
        await device.close()


async def test_a_device_that_does_not_read_its_answers_is_closed() -> None:
    async with Bench(Limits(write_timeout_s=0.01, frames_per_second=1e9)) as bench:
        device = await logged_in(bench)
        device.reader._transport.pause_reading()  # type: ignore[attr-defined]

        async def flood() -> None:
            while True:
                await device.send(message(Command.HEARTBEAT) * 1000)

        with pytest.raises((ConnectionError, BrokenPipeError)):
            async with asyncio.timeout(90):
                await flood()
        await device.close()
        assert bench.presence.reasons()[-1] is OnlineReason.ANSWERS_NOT_READ


def test_an_iccid_is_not_kept_as_it_is() -> None:
    credential = Credential.of(ICCID)
    assert ICCID.encode() not in credential.salt + credential.digest
    assert credential.matches(ICCID)
    assert not credential.matches(ICCID[:-1] + "9")
