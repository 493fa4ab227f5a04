"""What a sidecar holds survives its end, whatever becomes of it, of the renderer, and of the disk."""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from sidecar import BINARY, failure_of, reason, seconds, served, wait_until

# How often the sidecar is killed under landings.
KILLS = int(os.environ.get("EVENKEEL_KILLS", "50"))

WRITTEN = re.compile(r"written to disk project=(\S+) order=(\d+)/(\d+)")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "disk"


@pytest.fixture
def start(start_sidecar, folder):
    """Starts a sidecar that keeps what it holds in `folder`."""

    def start(disk=None, **settings):
        return start_sidecar(disk={"dir": str(folder), "sync": "50ms", **(disk or {})}, **settings)

    return start


def written(sidecar):
    wait_until(lambda: sidecar.metric("disk_pending") == 0 and sidecar.metric("disk_written_total") > 0)


def durable(sidecar):
    written(sidecar)
    wait_until(lambda: sidecar.metric("disk_durable_total") == sidecar.metric("disk_written_total"))


def kill(sidecar):
    """As `kill -9` and the OOM killer do; the same sidecar can be started again."""
    sidecar.hang_up()
    sidecar.signal(signal.SIGKILL)
    sidecar.wait_for_exit(5)
    print(f"--- before it was killed\n{sidecar.log()}")
    sidecar.log_file.write_text("")


def begin_again(sidecar):
    """Starts it after its end, and waits until it has read what there is: a starved disk takes longer than lookups wait."""
    sidecar.start()
    if sidecar.settings.get("disk", {}).get("dir"):
        wait_until(lambda: sidecar.metric("recall_seconds") > 0)


def restart(sidecar):
    kill(sidecar)
    begin_again(sidecar)


def end(sidecar):
    """Ends it as Kubernetes does."""
    sidecar.hang_up()
    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait_for_exit(10) == 0
    sidecar.log_file.write_text("")


def database(folder):
    return next(folder.glob("*.sqlite3"))


def test_a_restart_while_the_renderer_is_dead_serves_everything_held_before(renderer, start):
    names = [f"team/{number}" for number in range(100)]
    sidecar = start()
    before = {result.answer.revision.project: result.answer for result in sidecar.batch(names, patience=10)}
    assert len(before) == len(names)
    written(sidecar)
    renderer.stop()

    restart(sidecar)
    for name in names:
        answer = sidecar.get(name, patience=0)
        assert (served(answer), answer.unconfirmed) == ("FRESH", True)
        assert (answer.revision, answer.payload) == (before[name].revision, before[name].payload)
    assert sidecar.metric("recalled_projects_total") == len(names)
    assert len(renderer.renders()) == len(names)


def test_a_sidecar_is_ready_at_once_with_something_on_disk_and_as_ever_without(renderer, start):
    sidecar = start(start={"grace": "3s"})
    sidecar.get("shop")
    written(sidecar)
    renderer.stop()
    # A name that does not resolve: DNS is dead, too.
    sidecar.edit(upstream={"url": "http://renderer.invalid:7070"})
    for policy, least, most in [("recalled", 0, 2.5), ("warm", 0, 2.5), ("contact", 2.9, 10)]:
        sidecar.edit(start={"policy": policy})
        kill(sidecar)
        began = time.monotonic()
        sidecar.start()
        assert least <= time.monotonic() - began <= most, policy
        wait_until(lambda: sidecar.metric("recall_seconds") > 0)
        assert sidecar.get("shop", patience=0).unconfirmed


def test_without_a_folder_nothing_is_kept_and_nothing_is_unconfirmed(sidecar, folder):
    assert not sidecar.get("shop").unconfirmed
    assert not re.search(r"^evenkeel_disk_up ", sidecar.http("/metrics")[1], re.MULTILINE)
    threads = [open(f"/proc/{sidecar.pid}/task/{task}/comm").read().strip() for task in os.listdir(f"/proc/{sidecar.pid}/task")]
    assert "disk" not in threads
    restart(sidecar)
    assert sidecar.metric("projects") == 0


def test_what_was_outdated_stays_outdated_and_for_as_long(renderer, start):
    sidecar = start()
    for name in ("old", "changed"):
        sidecar.get(name)
    wait_until(renderer.is_listened_to)
    renderer.changes("changed", rollout=1, number=7)
    wait_until(lambda: served(sidecar.get("changed", patience=0)) == "OUTDATED")
    renderer.stop()
    sidecar.release(2)
    time.sleep(1.1)  # That it grows is what is shown.
    before = {name: sidecar.get(name, patience=0) for name in ("old", "changed")}
    durable(sidecar)

    restart(sidecar)
    for name, answer in before.items():
        again = sidecar.get(name, patience=0)
        assert (served(again), reason(again)) == ("OUTDATED", "UNREACHABLE")
        assert again.revision == answer.revision
        assert seconds(again.outdated_for) >= seconds(answer.outdated_for) >= 1
        assert seconds(again.outdated_for) < seconds(answer.outdated_for) + 10
        assert failure_of(sidecar.get, name, patience=0, max_outdated=1).reason == "DEMAND_NOT_MET"


def test_a_change_that_was_missed_while_the_sidecar_was_down_is_found(renderer, start):
    renderer.stores("shop", rollout=1, number=1)
    sidecar = start()
    sidecar.get("shop")
    written(sidecar)
    kill(sidecar)
    renderer.stores("shop", rollout=1, number=2)
    sidecar.start()
    first = sidecar.get("shop")
    assert (served(first), first.revision.number, first.unconfirmed) == ("FRESH", 1, True)
    wait_until(lambda: sidecar.get("shop").revision.number == 2, within=15)
    assert not sidecar.get("shop").unconfirmed
    assert "shop" in renderer.confirms() and len(renderer.renders()) == 0


def test_what_is_confirmed_is_no_longer_unconfirmed(renderer, start):
    sidecar = start()
    sidecar.get("shop")
    renderer.stores("shop", rollout=1, number=1)
    written(sidecar)
    restart(sidecar)
    assert sidecar.get("shop").unconfirmed
    wait_until(lambda: not sidecar.get("shop").unconfirmed, within=15)


def test_nothing_is_lost_of_what_was_written_whenever_the_sidecar_is_killed(renderer, start):
    """OPA said "saved" and saved nothing (opa#6939)."""
    renderer.costs(0)
    chance, newest, number = random.Random(7), {}, 0
    sidecar = start(admission={"rate": 10_000, "burst": 10_000}, start={"policy": "warm"})
    names = [f"team/{at}" for at in range(20)]
    for name in names:
        sidecar.get(name)
    for _ in range(KILLS):
        wait_until(renderer.is_listened_to)
        end = time.monotonic() + chance.uniform(0.02, 0.4)
        while time.monotonic() < end:
            name, number = chance.choice(names), number + 1
            renderer.answers(only=name, number=number)
            renderer.changes(name, rollout=1, number=number)
            sidecar.get(name, patience=0.2)
        sidecar.hang_up()
        sidecar.signal(signal.SIGKILL)
        sidecar.wait_for_exit(5)
        for name, rollout, version in WRITTEN.findall(sidecar.log()):
            newest[name] = max(newest.get(name, (0, 0)), (int(rollout), int(version)))
        sidecar.log_file.write_text("")
        sidecar.start()
        for name, order in newest.items():
            revision = sidecar.get(name, patience=0).revision
            assert (revision.rollout, revision.number) >= order, name
    assert sidecar.metric("disk_lost_records_total") == 0
    assert len(newest) == len(names)


def test_a_project_that_is_gone_is_gone_after_the_restart_too(renderer, start):
    sidecar = start()
    sidecar.get("shop")
    renderer.knows_not("shop")
    sidecar.release(2)
    wait_until(lambda: reason(sidecar.get("shop")) == "PROJECT_GONE")
    before = sidecar.get("shop", patience=0)
    durable(sidecar)
    restart(sidecar)
    wait_until(lambda: reason(sidecar.get("shop")) == "PROJECT_GONE")
    again = sidecar.get("shop", patience=0)
    assert (again.revision, again.payload) == (before.revision, before.payload)
    assert seconds(again.outdated_for) >= seconds(before.outdated_for)


@pytest.mark.parametrize("what", ["flipped", "truncated", "emptied", "garbage", "log of writes"])
def test_damage_makes_no_wrong_answer_and_no_failed_start(renderer, start, folder, what):
    names = [f"team/{number}" for number in range(50)]
    sidecar = start()
    before = {name: sidecar.get(name).payload for name in names}
    durable(sidecar)
    kill(sidecar)
    path, chance = database(folder), random.Random(7)
    content = bytearray(path.read_bytes())
    match what:
        case "flipped":
            for _ in range(20):
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            path.write_bytes(content)
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "emptied":
            path.write_bytes(b"")
        case "garbage":
            path.write_bytes(chance.randbytes(len(content)))
        case "log of writes":
            path.with_name(path.name + "-wal").write_bytes(chance.randbytes(50_000))
    begin_again(sidecar)
    for name in names:
        assert sidecar.get(name).payload == before[name]
    wait_until(lambda: sidecar.metric("disk_up") == 1)
    durable(sidecar)
    assert sidecar.log().count("the disk store is damaged") <= 1
    renderer.stop()
    restart(sidecar)
    for name in names:
        assert sidecar.get(name, patience=0).payload == before[name]


def test_a_folder_that_cannot_be_used_is_said_once_and_costs_nothing_else(renderer, start_sidecar, tmp_path):
    (tmp_path / "file").write_text("in the way")
    sidecar = start_sidecar(disk={"dir": str(tmp_path / "file" / "disk")})
    for _ in range(3):
        assert served(sidecar.get("shop"))
    assert sidecar.metric("disk_up") == 0
    assert sidecar.log().count("cannot write the disk store") == 1
    (tmp_path / "file").unlink()
    wait_until(lambda: sidecar.metric("disk_up") == 1, within=10)
    wait_until(lambda: "the disk store is written again" in sidecar.log(), within=10)
    written(sidecar)


def as_root(*command):
    if os.geteuid() != 0 or shutil.which(command[0]) is None:
        pytest.skip(f"NOT SHOWN WHAT A BAD DISK DOES: {command[0]} needs root")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"NOT SHOWN WHAT A BAD DISK DOES: {' '.join(command)}: {done.stderr.strip()}")


@pytest.fixture
def tiny(folder):
    """A file system of 4 MiB."""
    folder.mkdir()
    as_root("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_said_once_delays_no_lookup_and_heals(renderer, start, tiny):
    renderer.answers(payload=b"x" * 100_000)
    sidecar = start()
    for number in range(60):
        assert sidecar.get(f"team/{number}").payload == b"x" * 100_000
    wait_until(lambda: sidecar.metric("disk_errors_total", kind="full") > 0)
    assert sidecar.log().count("cannot write the disk store") == 1
    took = []
    for number in range(60):
        began = time.monotonic()
        assert served(sidecar.get(f"team/{number}", patience=0)) == "FRESH"
        took.append(time.monotonic() - began)
    assert sorted(took)[30] < 0.1
    as_root("mount", "-o", "remount,size=64m", str(tiny))
    wait_until(lambda: "the disk store is written again" in sidecar.log(), within=70)
    wait_until(lambda: sidecar.metric("disk_pending") == 0)
    renderer.stop()
    restart(sidecar)
    assert all(served(sidecar.get(f"team/{number}", patience=0)) == "FRESH" for number in range(60))


def test_a_disk_that_becomes_read_only_is_read(renderer, start, tiny):
    sidecar = start()
    for number in range(10):
        sidecar.get(f"team/{number}")
    durable(sidecar)
    kill(sidecar)
    as_root("mount", "-o", "remount,ro", str(tiny))
    renderer.stop()
    begin_again(sidecar)
    assert all(served(sidecar.get(f"team/{number}", patience=0)) == "FRESH" for number in range(10))
    assert sidecar.metric("disk_up") == 0
    assert sidecar.log().count("cannot write the disk store") == 1


def test_two_sidecars_on_one_folder_both_serve_and_one_writes(renderer, start):
    first = start()
    first.get("shop")
    durable(first)
    renderer.stop()
    second = start()
    wait_until(lambda: second.metric("recall_seconds") > 0)
    assert served(second.get("shop", patience=0)) == "FRESH"
    assert (first.metric("disk_up"), second.metric("disk_up")) == (1, 0)
    assert "another process has it open" in second.log()
    kill(first)
    wait_until(lambda: second.metric("disk_up") == 1, within=70)


def test_others_cannot_read_what_is_kept(start, folder):
    sidecar = start()
    sidecar.get("shop")
    durable(sidecar)
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_any_operator_can_open_the_file(start, folder):
    sidecar = start()
    sidecar.get("shop")
    durable(sidecar)
    kill(sidecar)
    with sqlite3.connect(database(folder)) as opened:
        rows = opened.execute("SELECT name, rollout, number, content_type FROM project").fetchall()
        assert rows == [("shop", 1, 1, "application/json")]


def command(*words):
    done = subprocess.run([BINARY, *map(str, words)], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


def test_the_commands_tell_what_is_kept_beside_a_running_sidecar_and_after_its_end(start, folder):
    sidecar = start()
    for name in ("team/a", "team/b"):
        sidecar.get(name)
    durable(sidecar)
    for is_running in (True, False):
        code, said = command("disk", "ls", folder)
        assert code == 0 and "team/a" in said and "team/b" in said, said
        assert "2 projects of component identity in realm default, 0 rows spoilt" in said
        assert ("in use" in said) == is_running
        assert command("disk", "verify", folder)[0] == 0
        if is_running:
            kill(sidecar)
            # One that ends by itself leaves no log of writes beside the database.
            begin_again(sidecar)
            end(sidecar)
    with sqlite3.connect(database(folder)) as opened:
        opened.execute("UPDATE payload SET bytes = 'other' WHERE id = 1")
        opened.execute("UPDATE project SET rollout = 2 WHERE id = 2")
    content = database(folder).read_bytes()
    code, said = command("disk", "verify", folder)
    assert code == 1 and "1 projects" in said and "1 payloads wrong" in said and "1 rows spoilt" in said, said
    assert database(folder).read_bytes() == content
    assert command("disk", "ls", folder / "missing")[0] == 1


def test_what_is_exported_is_what_new_sidecars_begin_with(renderer, start_sidecar, start, folder, tmp_path):
    sidecar = start()
    before = sidecar.get("shop")
    durable(sidecar)
    kill(sidecar)
    code, said = command("disk", "export", folder, tmp_path / "seed")
    assert code == 0 and said.startswith("1 projects of "), said
    assert command("disk", "export", folder, tmp_path / "seed")[0] == 1
    renderer.stop()
    other = start_sidecar(disk={"dir": str(tmp_path / "seed")})
    wait_until(lambda: other.metric("recall_seconds") > 0)
    answer = other.get("shop", patience=0)
    assert (answer.revision, answer.payload, answer.unconfirmed) == (before.revision, before.payload, True)


def test_a_project_with_an_absurd_order_is_forgotten_by_a_purge_in_memory_and_on_disk(renderer, start, folder):
    socket = folder.parent / "admin.sock"
    sidecar = start(admin={"listen": f"unix:{socket}"})
    renderer.answers(only="shop", rollout=2**60, number=9)
    assert sidecar.get("shop").revision.rollout == 2**60
    renderer.answers(only="shop", number=2)
    durable(sidecar)
    restart(sidecar)
    assert sidecar.get("shop").revision.rollout == 2**60
    code, said = command("purge", "shop", "--address", f"unix:{socket}")
    assert (code, said.strip()) == (0, f"shop: forgot revision {2**60}/9")
    assert "an operator had a project forgotten" in sidecar.log()
    wait_until(lambda: sidecar.metric("disk_projects") == 0)
    durable(sidecar)
    restart(sidecar)
    assert sidecar.metric("recalled_projects_total") == 0
    assert sidecar.get("shop").revision.number == 2
    assert command("purge", "unknown", "--address", f"unix:{socket}")[0] == 3
    assert command("purge", "shop", "--address", f"unix:{folder}/nothing")[0] == 69
