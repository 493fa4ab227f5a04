"""Memory: what an idle sidecar takes, what holding costs, and that nothing grows. EVENKEEL_MEMORY=full is the size of tests/long/memory."""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import grpc

from contract import ConfigServiceStub, WatchConfigRequest
from sidecar import served, wait_until

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from load import BUSY, Lookups, h2load  # noqa: E402
from servers import Target, request  # noqa: E402

SIZE = os.environ.get("EVENKEEL_MEMORY")
FULL = SIZE == "full"
KIB, MIB = 1 << 10, 1 << 20
# No limit of admission stands in the way of those that fill the memory.
UNLIMITED = {"rate": 100_000, "burst": 10_000, "concurrency": 32, "queue": 4096}
BATCH = 100
# What calls under way take beside what they bring; at full size there is room for it in the quarter.
WORKING = 0 if FULL else 16 * MIB


def resident(sidecar, kind: str = "VmRSS") -> int:
    """The bytes that the process has in memory, or those of a kind."""
    status = Path(f"/proc/{sidecar.pid}/status").read_text()
    return next(int(line.split()[1]) * KIB for line in status.splitlines() if line.startswith(f"{kind}:"))


def look_up(sidecar, projects) -> None:
    """Looks projects up until each is answered."""
    for start in range(0, len(projects), BATCH):
        asked = projects[start : start + BATCH]
        wait_until(lambda: all(result.HasField("answer") for result in sidecar.batch(asked, patience=20)), within=60)


def show(what: str, found: int, bound: float) -> None:
    print(f"{what}: {found / MIB:.1f} of at most {bound / MIB:.1f} MiB")


def test_an_idle_sidecar_takes_at_most_15_mib(sidecar):
    wait_until(lambda: sidecar.metric("degraded") == 0)
    # Of the release build, everything counts. A build with little optimisation has twice as much code, and half of that more is resident:
    # without the demo, as the image has it, it may take 20 MiB; with it, what is not code counts.
    kind, bound = {"full": ("VmRSS", 15 * MIB), "image": ("VmRSS", 20 * MIB)}.get(SIZE, ("RssAnon", 5 * MIB))
    # Being looked at is all that happens to an idle one.
    found = max(resident(sidecar, kind) for _ in range(20) if sidecar.metric("ready"))
    show("idle", found, bound)
    assert found <= bound


def test_what_is_held_takes_little_more_than_its_payloads(start_sidecar, renderer):
    payload, projects = 16 * KIB, 10_000 if FULL else 4_000
    renderer.answers(payload=b"x" * payload)
    sidecar = start_sidecar(admission=UNLIMITED, log={"level": "info"})
    bound = 1.25 * projects * payload + resident(sidecar) + WORKING
    look_up(sidecar, [f"demo/{n}" for n in range(projects)])
    assert sidecar.metric("projects") == projects
    show(f"{projects:,} payloads of 16 KiB", resident(sidecar), bound)
    assert resident(sidecar) <= bound


def test_what_small_revisions_truly_cost_is_counted(start_sidecar):
    # What the allocator takes beside them, up to 1 MiB, is little of these.
    projects = 100_000 if FULL else 30_000
    sidecar = start_sidecar(admission=UNLIMITED, log={"level": "info"})
    look_up(sidecar, [f"warm/{n}" for n in range(1_000)])
    idle, counted = resident(sidecar), sidecar.metric("held_bytes")
    look_up(sidecar, [f"demo/{n}" for n in range(projects)])
    grown, counted = resident(sidecar) - idle, sidecar.metric("held_bytes") - counted
    show(f"{projects:,} small payloads", grown, 1.25 * counted)
    assert grown <= 1.25 * counted


def test_a_full_cache_keeps_to_its_bytes(start_sidecar, renderer):
    payload, room = 16 * KIB, 64 * MIB if FULL else 32 * MIB
    renderer.answers(payload=b"x" * payload)
    sidecar = start_sidecar(cache={"max_bytes": f"{room}B"}, admission=UNLIMITED, log={"level": "info"})
    bound = 1.25 * room + resident(sidecar) + WORKING
    look_up(sidecar, [f"demo/{n}" for n in range(3 * room // payload)])
    assert 0.95 * room < sidecar.metric("held_bytes") <= room
    show("a full cache", resident(sidecar), bound)
    assert resident(sidecar) <= bound


def test_nothing_grows_while_revisions_come_and_go(start_sidecar, renderer):
    """Lookups of one project, many at once, while others are rendered, thrown out, and made outdated by releases."""
    lookups = 10_000_000 if FULL else 200_000
    # In the first parts the allocator takes what it will use from then on.
    warm, parts, room, payload = 5, 20, 8 * MIB, 16 * KIB
    renderer.answers(payload=b"x" * payload)
    sidecar = start_sidecar(cache={"max_bytes": f"{room}B"}, admission=UNLIMITED, log={"level": "info"})
    target = Target("evenkeel", sidecar.pid, sidecar.address)
    asked = Lookups(request("demo/shop").SerializeToString(), "", payload)
    names, rollouts = count(), count(2)
    sidecar.get("demo/shop", patience=20)
    before, readings = sidecar.metric("lookups_total"), []
    with ThreadPoolExecutor(1) as pool:
        for _ in range(warm + parts):
            load = pool.submit(h2load, target, asked, BUSY, lookups // parts)
            sidecar.release(next(rollouts))
            while True:
                # In the cache there is room for no more than these.
                look_up(sidecar, [f"demo/{next(names) % 1000}" for _ in range(BATCH)])
                if load.done():
                    break
            load.result()
            readings.append(resident(sidecar))
    readings = readings[warm:]
    assert sidecar.metric("lookups_total") - before >= lookups
    assert sidecar.metric("lookups_total", served="failed") == 0
    assert len(renderer.renders()) > parts * BATCH, "revisions came and went"
    bound = 1.05 * max(readings[: parts // 4])
    show(f"{lookups:,} lookups", max(readings[-parts // 4 :]), bound)
    assert max(readings[-parts // 4 :]) <= bound


def test_watchers_cost_the_same_after_any_number_of_updates(start_sidecar, renderer):
    watchers, updates = (1_000, 1_000) if FULL else (200, 50)
    sidecar = start_sidecar(admission=UNLIMITED, log={"level": "info"})
    wait_until(renderer.is_listened_to)

    def answer(number: int) -> None:
        # Another payload each time: one that is known would be left out.
        renderer.answers(number=number, payload=str(number).encode().ljust(KIB))

    def update(number: int) -> None:
        answer(number)
        renderer.changes("demo/shop", 1, number)

    answer(1)
    assert served(sidecar.get("demo/shop", patience=20)) == "RENDERED"

    before, after = asyncio.run(_follow(sidecar, watchers, updates, update))
    show(f"{watchers:,} watchers × {updates:,} updates", after, 1.1 * before)
    assert after <= 1.1 * before


async def _follow(sidecar, watchers: int, updates: int, update) -> tuple[int, int]:
    """Has each watcher see each update; returns the memory before the first of them, and the most of the last few."""
    per_connection, few = 100, 5
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    channels = [grpc.aio.insecure_channel(sidecar.address, options=options) for _ in range(watchers // per_connection)]
    seen = asyncio.Semaphore(0)

    async def watch(channel):
        async for message in ConfigServiceStub(channel).WatchConfig(WatchConfigRequest(project="demo/shop")):
            assert message.answer.payload, message
            seen.release()

    tasks = [asyncio.create_task(watch(channel)) for channel in channels for _ in range(per_connection)]

    async def all_have_seen():
        for _ in range(watchers):
            await asyncio.wait_for(seen.acquire(), 60)

    await all_have_seen()
    before, readings = resident(sidecar), []
    for number in range(2, 2 + updates):
        update(number)
        await all_have_seen()
        readings.append(resident(sidecar))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for channel in channels:
        await channel.close()
    return before, max(readings[-few:])
