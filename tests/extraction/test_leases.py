"""Leases on clips: one holder at a time, of any machine, and nothing harmed where disks show changes late or clocks lie."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bemerc.extraction import leases as module
from bemerc.extraction.errors import StoreError
from bemerc.extraction.leases import BEAT_S, STALE_S, Leases

NAME = "ab" + "0" * 62
HOLD = """
import sys
from pathlib import Path
from bemerc.extraction.leases import Leases
with Leases(Path(sys.argv[1])) as leases:
    print(*(name for name in sys.argv[2:] if leases.acquire(name)), flush=True)
    sys.stdin.read()
"""


class Clock:
    """Seconds as one machine counts them: from its own start, at its own speed."""

    def __init__(self, now_s: float = 0.0, speed: float = 1.0) -> None:
        self.now_s, self.speed = now_s, speed

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds * self.speed


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first entry is the machine that records name from now on; none = this one."""
    name: list[str] = []
    here = module.machine()
    monkeypatch.setattr(module, "machine", lambda: name[0] if name else here)
    return name


def remote(folder: Path, elsewhere: list[str], clock: Clock, name: str = "0badcafe") -> Leases:
    elsewhere[:] = [name]
    leases = Leases(folder, clock)
    elsewhere.clear()
    return leases


def start(folder: Path, *names: str) -> tuple[subprocess.Popen[str], list[str]]:
    command = [sys.executable, "-c", HOLD, str(folder), *names]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().split()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "leases").iterdir())


def test_a_lease_holds_against_others_until_it_is_given_back(tmp_path: Path) -> None:
    with Leases(tmp_path) as one, Leases(tmp_path) as other:
        assert one.acquire(NAME)
        assert not other.acquire(NAME)
        assert f"process {os.getpid()} of " in other.holder(NAME)
        assert other.holder("cd") == ""
        other.release(NAME)  # not its own
        assert not other.acquire(NAME)
        one.release(NAME)
        assert other.acquire(NAME)
        assert not one.acquire(NAME)
    assert files(tmp_path) == []


def test_a_killed_process_of_this_machine_loses_its_lease_at_once(tmp_path: Path) -> None:
    process, held = start(tmp_path, NAME)
    assert held == [NAME]
    with Leases(tmp_path) as leases:
        assert not leases.acquire(NAME)
        process.kill()
        process.communicate()
        assert leases.acquire(NAME)
    with Leases(tmp_path):
        pass
    assert files(tmp_path) == [], "the next process removes what it left"


def test_processes_that_start_together_share_the_clips(tmp_path: Path) -> None:
    names = [f"{i:064x}" for i in range(50)]
    running = [start(tmp_path, *random.Random(seed).sample(names, 50)) for seed in range(3)]
    assert Counter(name for _, held in running for name in held) == Counter(names)
    for process, _ in running:
        process.communicate("")
        assert process.returncode == 0
    assert files(tmp_path) == []


def test_a_frozen_process_is_replaced_and_harms_nothing_when_it_wakes(tmp_path: Path) -> None:
    frozen, held = start(tmp_path, NAME)
    frozen.send_signal(signal.SIGSTOP)
    clock = Clock()
    with Leases(tmp_path, clock) as leases, Leases(tmp_path) as third:
        for _ in range(int(STALE_S)):
            assert not leases.acquire(NAME)
            clock.advance(1)
        assert leases.acquire(NAME)
        frozen.send_signal(signal.SIGCONT)
        frozen.communicate("")  # it gives its lease back
        assert (frozen.returncode, held) == (0, [NAME])
        assert not third.acquire(NAME), "the new holder keeps it"
    assert files(tmp_path) == []


def test_signs_of_life_keep_a_lease_on_another_machine_whatever_its_clock(tmp_path: Path, elsewhere: list[str]) -> None:
    theirs, ours = Clock(1e9, speed=0.9), Clock(speed=1.1)
    other = remote(tmp_path, elsewhere, theirs)
    assert other.acquire(NAME)
    for path in (tmp_path / "leases").iterdir():
        os.utime(path, (path.stat().st_mtime - 7200,) * 2)  # its disk is behind
    with Leases(tmp_path, ours) as leases:
        for _ in range(200):
            theirs.advance(BEAT_S / 2)
            ours.advance(BEAT_S / 2)
            elsewhere[:] = ["0badcafe"]
            other.beat()
            elsewhere.clear()
            assert not leases.acquire(NAME)
        for _ in range(20):  # it stops
            ours.advance(BEAT_S)
            taken = leases.acquire(NAME)
        assert taken
        other.close()
        assert leases.holder(NAME)


def test_an_observer_that_was_frozen_too_does_not_count_that_time(tmp_path: Path, elsewhere: list[str]) -> None:
    ours = Clock()
    other = remote(tmp_path, elsewhere, Clock())
    assert other.acquire(NAME)
    with Leases(tmp_path, ours) as leases:
        assert not leases.acquire(NAME)
        ours.advance(10 * STALE_S)
        assert not leases.acquire(NAME)
    other.close()


def test_of_several_that_take_over_one_gets_it(tmp_path: Path, elsewhere: list[str]) -> None:
    gone = remote(tmp_path, elsewhere, Clock())
    assert gone.acquire(NAME)
    clock = Clock()
    rivals = [Leases(tmp_path, clock) for _ in range(4)]
    stale = rivals[0]._read(tmp_path / "leases" / NAME)
    assert stale is not None
    for _ in range(20):
        clock.advance(BEAT_S)
        got = [rival.acquire(NAME) for rival in rivals]
        if any(got):
            break
    assert sum(got) == 1
    late = rivals[1 - got.index(True)]  # it looked before, and goes on only now
    assert not late._take_away(tmp_path / "leases" / NAME, stale.owner)
    assert not late.acquire(NAME), "what it moved aside by mistake is back"
    for leases in (*rivals, gone):
        leases.close()
    assert files(tmp_path) == []


class LateDisk(Leases):
    """A machine whose disk shows every lease as it was a few looks ago, or not at all."""

    def __init__(self, folder: Path, clock: Clock, chance: random.Random) -> None:
        self._seen: dict[Path, list[module._Holder | None]] = {}
        self._chance = chance
        super().__init__(folder, clock)

    def _read(self, path: Path) -> module._Holder | None:
        seen = self._seen.setdefault(path, [])
        seen.append(super()._read(path))
        return seen[-1 - self._chance.randrange(min(3, len(seen)))]


@pytest.mark.parametrize("seed", range(8))
def test_all_clips_are_done_where_changes_show_late_and_processes_stop(
    tmp_path: Path, elsewhere: list[str], seed: int
) -> None:
    chance = random.Random(seed)
    names = [f"{i:064x}" for i in range(8)]
    clocks = [Clock(chance.uniform(0, 1e9), chance.uniform(0.5, 2)) for _ in range(4)]
    machines = []
    for i, clock in enumerate(clocks):
        elsewhere[:] = [f"{i:08x}"]
        machines.append(LateDisk(tmp_path, clock, chance))
    work: dict[int, str] = {}
    done: Counter[str] = Counter()
    for step in range(3000):
        for clock in clocks:
            clock.advance(1)
        at = chance.randrange(4)
        elsewhere[:] = [f"{at:08x}"]
        if (at == 0 and step > 20) or (at == 1 and 20 < step < 400):
            continue  # one dies with what it holds, one is frozen for long and wakes up
        mine = machines[at]
        if at in work:
            mine.beat()
            if chance.random() < 0.1:
                done[work[at]] += 1
                mine.release(work.pop(at))
        else:
            name = chance.choice(names)
            if not done[name] and mine.acquire(name):
                work[at] = name
        if len(done) == len(names) and set(work) <= {0}:
            break
    assert set(done) == {*names}, "nothing is left behind by those that stopped"
    assert sum(done.values()) <= len(names) + 3, "little is done twice"
    for leases in machines:
        leases.close()


def test_a_disk_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: list[str]) -> None:
    def no_link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    theirs, ours = Clock(), Clock()
    other = remote(tmp_path, elsewhere, theirs)
    assert other.acquire(NAME)
    with Leases(tmp_path, ours) as leases:
        for _ in range(30):
            theirs.advance(BEAT_S)
            ours.advance(BEAT_S)
            other.beat()
            assert not leases.acquire(NAME)
        for _ in range(20):
            ours.advance(BEAT_S)
            taken = leases.acquire(NAME)
        assert taken
        other.close()
        assert leases.holder(NAME)
    assert files(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"half a rec", b"\xff" * 300, b"a b c d e f\n"])
def test_a_file_that_is_no_record_is_waited_for_and_then_replaced(tmp_path: Path, content: bytes) -> None:
    clock = Clock()
    with Leases(tmp_path, clock) as leases:
        (tmp_path / "leases" / NAME).write_bytes(content)
        taken = []
        for _ in range(20):
            taken.append(leases.acquire(NAME))
            clock.advance(BEAT_S)
    assert taken.index(True) >= STALE_S / BEAT_S
    assert files(tmp_path) == []


def test_a_folder_that_was_tidied_up_meanwhile(tmp_path: Path) -> None:
    with Leases(tmp_path) as leases:
        for path in (tmp_path / "leases").iterdir():
            path.unlink()
        (tmp_path / "leases").rmdir()
        assert leases.acquire(NAME)
        leases.release(NAME)
    assert files(tmp_path) == []


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("a file")
    with pytest.raises(StoreError):
        Leases(tmp_path)
