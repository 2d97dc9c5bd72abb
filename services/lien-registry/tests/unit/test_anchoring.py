"""Two organisations that look at the ledger at different moments come to agree on roots, and don't post more than they should."""

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from registry_builders import discharged, registered
from registry_tree import FakeTreeStore
from structlog.testing import capture_logs

from carlien_common.domain.errors import duplicate
from carlien_lien_registry.domain import merkle
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Anchor
from carlien_lien_registry.domain.subjects import vin_subject
from carlien_lien_registry.service.anchoring import Anchoring
from carlien_lien_registry.service.following import Progress

_ORGS = ("Org1MSP", "Org2MSP")


@dataclass
class World:
    """One ledger, two readers of it, one clock."""

    now: float = 0.0
    height: int = 0
    changes: list[Change] = field(default_factory=list)
    anchors: list[Anchor] = field(default_factory=list)
    posts: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stores = {org: FakeTreeStore(self.changes, self.anchors, _ORGS, org, 0) for org in _ORGS}
        self.keepers = {}
        for org in _ORGS:
            self.start(org)

    def start(self, org: str) -> None:
        progress = Progress(lambda: self.now)
        progress.saw_height(-1)
        self.keepers[org] = Anchoring(self.stores[org], Poster(self, org), progress, lambda: self.now)

    def write(self, change_of: Change | None) -> None:
        self.height += 1
        if change_of is not None:
            self.changes.append(change_of)

    async def step(self, org: str, seconds: float = 0.0) -> None:
        self.now += seconds
        # The peer is level all the time; what differs is how far each has read.
        keeper = self.keepers[org]
        keeper._progress._level_at = self.now
        await keeper.step()


@dataclass
class Poster:
    world: World
    org: str

    async def post(self, block_number: int, root: bytes) -> None:
        if any(one.block_number == block_number and one.msp_id == self.org for one in self.world.anchors):
            raise duplicate("ANCHOR_EXISTS", "posted")
        self.world.height += 1
        self.world.anchors.append(Anchor(block_number, self.org, root))
        self.world.posts.append((self.world.now, self.org))


def _agreed_root(world: World) -> tuple[int, bytes]:
    newest = max(change.position.block_number for change in world.changes)
    buckets = world.stores["Org1MSP"].buckets(newest)
    nodes = merkle.changed(lambda _: merkle.EMPTY, {bucket: merkle.bucket_hash(entries) for bucket, entries in buckets.items()})
    return newest, nodes[merkle.ROOT]


_ACTIONS = st.lists(
    st.tuples(st.sampled_from(["register", "discharge", "nothing", "read", "step"]), st.sampled_from(_ORGS), st.floats(0, 1.5)), max_size=40
)


@settings(max_examples=40, deadline=None)
@given(_ACTIONS)
async def test_whatever_happens_they_agree_on_the_newest_change_soon_after(actions: list[tuple[str, str, float]]) -> None:
    world = World()
    for what, org, seconds in actions:
        if what in ("register", "nothing"):
            number = world.height + 1
            world.write(registered(f"L{number}", number) if what == "register" else None)
        elif what == "discharge" and world.changes:
            world.write(discharged(world.changes[0], world.height + 1))
        elif what == "read":
            world.stores[org].read_model = world.height
        else:
            await world.step(org, seconds)
    for _ in range(4):
        for org in _ORGS:
            world.stores[org].read_model = world.height
            await world.step(org, 1.1)
    proven = [world.keepers[org].prove([vin_subject("LSVAA4182E2184847")]) for org in _ORGS]
    assert proven[0] is not None
    assert proven[1] is not None
    expected = _agreed_root(world) if world.changes else (0, merkle.EMPTY)
    for one in proven:
        assert (one.agreement.block_number, one.agreement.root) == expected
        path = one.paths[0]
        assert merkle.root_of(path.bucket, path.leaf, path.siblings) == one.agreement.root
    for org in _ORGS:
        times = [at for at, by in world.posts if by == org]
        assert all(later - earlier >= 1.0 for earlier, later in pairwise(times)), "at most one a second"
    posted = len(world.posts)
    for org in _ORGS:
        world.stores[org].read_model = world.height
        await world.step(org, 5.0)
    assert len(world.posts) == posted, "a posted root alone calls for no other"


async def test_a_read_model_that_was_tampered_with_does_not_follow() -> None:
    world = World()
    world.write(registered("L1", 1))
    for _ in range(2):
        for org in _ORGS:
            world.stores[org].read_model = world.height
            await world.step(org, 1.1)
    before = world.keepers["Org1MSP"].prove([])
    assert before is not None
    world.write(registered("L99", world.height + 1))
    for org in _ORGS:
        world.stores[org].read_model = world.height
        await world.step(org, 1.1)
    block = world.changes[-1].position.block_number
    agreed = [one for one in world.anchors if one.block_number == block]
    assert len(agreed) == 2
    # Whoever posted the root itself knows it; after a restart it is what is stored that must lead there.
    world.stores["Org1MSP"].changes = [*world.changes[:-1], registered("L98", block)]
    world.stores["Org1MSP"].read_model = world.height
    world.start("Org1MSP")
    await world.step("Org1MSP", 1.1)
    assert world.keepers["Org1MSP"].prove([]) is None, "it proves nothing that it doesn't find stored"


async def test_waiting_for_an_organisation_that_does_not_post_ends_by_itself() -> None:
    world = World()
    keeper = world.keepers["Org1MSP"]
    world.write(registered("L1", 1))
    world.stores["Org1MSP"].read_model = world.height
    await world.step("Org1MSP", 1.1)
    waiting = asyncio.create_task(keeper.covered(1, 60.0))
    await asyncio.sleep(0)
    with capture_logs() as logs:
        await world.step("Org1MSP", 10.0)
        assert await waiting is False
        assert not logs
        for _ in range(10):
            await world.step("Org1MSP", 10.0)
    assert [line["msp_ids"] for line in logs if line["event"] == "anchors_missing"] == [["Org2MSP"]], "told once, by name"


async def test_agreement_that_goes_on_is_waited_for_however_many_changes_come() -> None:
    world = World()
    for number in range(1, 20):
        world.write(registered(f"L{number}", world.height + 1))
        for org in _ORGS:
            world.stores[org].read_model = world.height
            await world.step(org, 0.6)
    newest = world.changes[-1].position.block_number
    waiting = asyncio.create_task(world.keepers["Org1MSP"].covered(newest, 60.0))
    for _ in range(4):
        for org in _ORGS:
            world.stores[org].read_model = world.height
            await world.step(org, 0.6)
    assert await waiting
