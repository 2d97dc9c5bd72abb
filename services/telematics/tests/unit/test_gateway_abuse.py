"""What a thousand careless or hostile devices can do to a gateway, and what is left of them afterwards."""

import asyncio
import struct
from datetime import timedelta

import pytest

from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.gb32960 import Command, Response, Version
from carlien_telematics.domain.records import state_changes
from carlien_telematics.gateway.limits import Limits
from carlien_telematics.service.recording import ReceivedFrame, read_frame
from carlien_telematics.testing.gateway import AT, VIN, Bench, Device, login, message, record


async def logged_in(bench: Bench) -> Device:
    bench.access.allow()
    device = await bench.device()
    assert await device.ask(login()) == Response.SUCCESS
    return device


async def test_a_thousand_connections_come_and_go_and_nothing_of_them_stays() -> None:
    async with Bench() as bench:
        good = await logged_in(bench)

        async def visit(number: int) -> None:
            device = await bench.device()
            if number % 3 == 0:
                await device.send(b"##")
            if number % 3 == 1:
                await device.ask(login(iccid="89860000000000000009"))
            await device.close()

        for start in range(0, 1000, 100):
            await asyncio.gather(*(visit(number) for number in range(start, start + 100)))
            assert await good.ask(record(start)) == Response.SUCCESS
        async with asyncio.timeout(30):
            while len(bench.gateway._connections) > 1:  # noqa: ASYNC110 - the gateway's own state
                await asyncio.sleep(0.01)
        assert bench.metrics.counts["CREDENTIAL"] == 333
        assert bench.gateway._tasks == set()
        await good.close()


@pytest.mark.parametrize("lie", [2, -2])
async def test_a_length_that_lies_by_two_costs_only_its_message(lie: int) -> None:
    async with Bench() as bench:
        device = await logged_in(bench)
        lying = bytearray(record(2))
        lying[22:24] = struct.pack(">H", (lying[22] << 8 | lying[23]) + lie)
        await device.send(record(1), bytes(lying), record(3))
        assert [(await device.answer()).response for _ in range(2)] == [Response.SUCCESS] * 2
        assert [frame.raw for frame in bench.publisher.frames] == [record(1), record(3)]
        assert bench.metrics.counts["gb32960 CHECK_BYTE"] >= 1
        await device.close()


async def test_the_longest_frame_there_can_be_is_taken_and_read() -> None:
    block = bytes(65_531 - 6 - 3)
    data = gb32960.encode_record(Version.V2016, AT, {"user_defined": [{"type": 0x80, "data": block.hex()}]})
    assert len(data) == 65_531
    longest = message(Command.REALTIME, data)
    async with Bench() as bench:
        device = await logged_in(bench)
        assert await device.ask(longest) == Response.SUCCESS
        assert [frame.raw for frame in bench.publisher.frames] == [longest]
        # one byte more can't be: the search goes on, and the message behind is found
        too_long = bytearray(longest)
        too_long[22:24] = b"\xff\xfc"
        await device.send(bytes(too_long[:100]), record(7))
        assert (await device.answer()).response == Response.SUCCESS
        assert bench.metrics.counts["gb32960 HEADER"] >= 1
        await device.close()
    [read] = read_frame(ReceivedFrame(VIN, "T", "GB32960_2016", longest, AT))
    assert read.units["user_defined"] == [{"type": 0x80, "data": block.hex()}]


async def test_a_flood_is_read_no_faster_than_its_rate_and_others_are_served() -> None:
    async with Bench(Limits(frames_per_second=50)) as bench:
        good = await logged_in(bench)
        second = "LSVNV2189E2100002"
        bench.access.allow(second)
        flood = await bench.device()
        assert await flood.ask(login(second)) == Response.SUCCESS
        await flood.send(*(record(rpm, vin=second) for rpm in range(500)))
        for rpm in range(20):
            assert await good.ask(record(rpm)) == Response.SUCCESS
        assert sum(frame.vin == VIN for frame in bench.publisher.frames) == 20
        await good.close()
        await flood.close()


@pytest.mark.parametrize(("hours", "is_state"), [(8, False), (-8, True)])
def test_a_clock_eight_hours_off_is_stored_and_only_one_behind_is_a_state(hours: int, is_state: bool) -> None:
    raw = record(1, at=AT + timedelta(hours=hours))
    [read] = read_frame(ReceivedFrame(VIN, "T", "GB32960_2016", raw, AT))
    assert read.device_time == AT + timedelta(hours=hours)
    assert bool(state_changes([read])) == is_state


def test_one_behind_is_no_state_once_there_is_a_newer_one() -> None:
    times = [AT, AT - timedelta(hours=8)]
    records = [one for at in times for one in read_frame(ReceivedFrame(VIN, "T", "GB32960_2016", record(1, at=at), AT))]
    assert [change.device_time for change in state_changes(records)] == [AT]
