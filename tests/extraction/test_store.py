"""The extraction store: keys, atomic results, cached hashes."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bemerc.cache import Features, pack_landmarks
from bemerc.extraction import store as store_module
from bemerc.extraction.errors import DamagedError, StoreError, UnreadableError
from bemerc.extraction.failures import Failure
from bemerc.extraction.fingerprint import WITHOUT_LANDMARKS, Segment, fingerprint
from bemerc.extraction.hash_cache import FileHashCache, UnreadableFile, file_identity
from bemerc.extraction.store import Result, Store

COLUMNS = ("a", "b")
KEY = "ab" + "0" * 38


def finished(rows: int = 4) -> Result:
    generator = np.random.default_rng(rows)
    points = generator.normal(size=(rows, 5, 3)).astype(np.float32)
    features = Features(generator.normal(size=(rows, 2)).astype(np.float32), np.arange(rows) / 25, COLUMNS)
    return Result(features, rows / 25, pack_landmarks(points), "ein Hinweis: ü")


def test_a_result_is_read_as_it_was_put(tmp_path: Path) -> None:
    store, piece = Store(tmp_path), finished()
    assert store.state("face", KEY) is None
    store.put("face", KEY, piece)
    assert store.state("face", KEY) is Result
    assert store.state("pose", KEY) is None
    back = store.result("face", KEY, COLUMNS)
    np.testing.assert_array_equal(back.features.values, piece.features.values)
    np.testing.assert_array_equal(back.features.timestamps_s, piece.features.timestamps_s)
    assert back.landmarks is not None
    assert piece.landmarks is not None
    np.testing.assert_array_equal(back.landmarks.points, piece.landmarks.points)
    assert (back.duration_s, back.note) == (piece.duration_s, piece.note)
    store.put("audio", KEY, Failure("Es gibt keine Tonspur.", absent=True))
    assert store.state("audio", KEY) is Failure
    assert store.failure("audio", KEY) == Failure("Es gibt keine Tonspur.", absent=True)


def test_a_name_depends_on_everything_that_the_numbers_depend_on() -> None:
    base = ("0f" * 32, Segment(), "face", "mesh/1", {"tracking_confidence": 0.5})
    others = [
        ("0e" * 32, *base[1:]),
        (base[0], Segment(start_s=1.0), *base[2:]),
        (base[0], Segment(end_s=1.0), *base[2:]),
        (base[0], Segment(crop=(0.0, 0.0, 0.5, 1.0)), *base[2:]),
        (*base[:2], "pose", *base[3:]),
        (*base[:3], "mesh/2", base[4]),
        (*base[:4], {"tracking_confidence": 0.6}),
    ]
    result = {fingerprint(*arguments) for arguments in [base, *others]}
    assert len(result) == len(others) + 1
    assert fingerprint(*base) == fingerprint(*base)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half", None])
def test_a_damaged_piece_is_removed_and_named(tmp_path: Path, damage: bytes | None) -> None:
    store = Store(tmp_path)
    store.put("face", KEY, finished())
    path = next(tmp_path.glob("face/*/*.npz"))
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 255
    path.write_bytes(data if damage is None else damage)
    with pytest.raises(DamagedError):
        store.result("face", KEY, COLUMNS)
    assert store.state("face", KEY) is None


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_links_and_pipes_in_a_store_are_neither_followed_nor_waited_for(tmp_path: Path, kind: str) -> None:
    """A store may come from somebody else: a piece that is a link to a sound one elsewhere is no piece of this store."""
    store, elsewhere = Store(tmp_path / "store"), Store(tmp_path / "elsewhere")

    def put_in_the_way(path: Path, victim: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(victim) if kind == "link" else os.mkfifo(path)

    for one in (store, elsewhere):
        one.put("face", KEY, finished())
        one.put("pose", KEY, Failure("Nobody is seen."))
    paths = [path for name in ("npz", "json") for path in tmp_path.glob(f"store/*/*/*.{name}")]
    victims = {path: tmp_path / "elsewhere" / path.relative_to(tmp_path / "store") for path in paths}
    before = {victim: victim.read_bytes() for victim in victims.values()}
    for path, victim in victims.items():
        put_in_the_way(path, victim)
    with pytest.raises(DamagedError):
        store.result("face", KEY, COLUMNS)
    with pytest.raises(DamagedError):
        store.failure("pose", KEY)
    assert not any(os.path.lexists(path) for path in paths)
    for path, victim in victims.items():
        put_in_the_way(path, victim)
    assert store.drop_landmarks("face") == 0
    put_in_the_way(paths[0], victims[paths[0]])
    store.put("face", KEY, finished(3))
    assert len(store.result("face", KEY, COLUMNS).features.values) == 3
    assert {victim: victim.read_bytes() for victim in victims.values()} == before


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_memory_that_leads_elsewhere_is_neither_read_nor_written(tmp_path: Path, kind: str) -> None:
    store, victim, clip = Store(tmp_path / "store"), tmp_path / "victim", tmp_path / "a.mp4"
    clip.write_bytes(b"x")
    os.utime(clip, (1e9, 1e9))
    memory = store.folder / "contents.jsonl"
    FileHashCache(store.folder).hash([clip], lambda count: None)
    victim.write_bytes(memory.read_bytes())
    memory.unlink()
    memory.symlink_to(victim) if kind == "link" else os.mkfifo(memory)
    before = victim.read_bytes()
    assert FileHashCache(store.folder).lookup(clip, file_identity(clip)) is None
    assert FileHashCache(store.folder).hash([clip], lambda count: None).keys() == {clip}
    assert victim.read_bytes() == before


@pytest.mark.parametrize("member", ["values.npy", "timestamps_s.npy", "duration_s.npy", "note.npy", "choice.npy"])
@pytest.mark.parametrize("content", [b"no array", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4', "])
def test_an_archive_of_something_else_is_a_damaged_piece(tmp_path: Path, member: str, content: bytes) -> None:
    """Sound zip archives whose members are none of ours: numpy gives bytes for one, and its tokenizer fails at the other."""
    store = Store(tmp_path)
    store.put("face", KEY, finished())
    path = next(tmp_path.glob("face/*/*.npz"))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members | {member: content}).items():
            archive.writestr(name, data)
    with pytest.raises(DamagedError):
        store.result("face", KEY, COLUMNS)
    assert store.state("face", KEY) is None


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE])
def test_a_disk_that_fails_for_a_moment_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store, real = Store(tmp_path), io.open
    store.put("face", KEY, finished())
    store.put("pose", KEY, Failure("Nobody is seen."))

    def failing(file: object, *rest: object, **options: object) -> object:
        if str(file).endswith((".npz", ".json")):
            raise OSError(number, os.strerror(number))
        return real(file, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(io, "open", failing)  # what Path.open calls
    with pytest.raises(UnreadableError):
        store.result("face", KEY, COLUMNS)
    with pytest.raises(UnreadableError):
        store.failure("pose", KEY)
    monkeypatch.undo()
    assert store.result("face", KEY, COLUMNS).duration_s == finished().duration_s
    assert store.failure("pose", KEY) == Failure("Nobody is seen.")


def test_a_verdict_holds_for_the_decoder_that_gave_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    earlier = tmp_path / "face" / KEY[:2] / f"{KEY}.json"  # as earlier releases kept it, of no decoder
    earlier.parent.mkdir(parents=True)
    earlier.write_text('{"reason": "The clip cannot be opened (Too many open files).", "absent": false}')
    assert store.state("face", KEY) is None, "it is tried once more"
    store.put("face", KEY, Failure("No frame can be decoded."))
    assert store.state("face", KEY) is Failure
    assert not earlier.exists()
    monkeypatch.setattr(store_module, "decoder_version", lambda: "0123abcd")
    assert store.state("face", KEY) is None
    store.put("face", KEY, finished())
    assert store.state("face", KEY) is Result
    monkeypatch.undo()
    assert store.state("face", KEY) is Result
    assert list(earlier.parent.glob("*.json")) == []


def test_failures_can_be_dropped(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("face", KEY, Failure("No frame can be decoded."))
    store.put("pose", KEY, finished())
    for modality in ("face", "pose", "audio"):
        store.drop_failures(modality, KEY + WITHOUT_LANDMARKS)
    assert [store.state(modality, KEY) for modality in ("face", "pose")] == [None, Result]


def test_whether_landmarks_are_kept_is_a_property_of_the_store(tmp_path: Path) -> None:
    assert Store(tmp_path).keeps_landmarks
    for keep in (False, False, True, True):
        Store(tmp_path).set_landmarks(keep)
        assert Store(tmp_path).keeps_landmarks is keep


def names(count: int) -> list[str]:
    return [f"{i:02x}" + "0" * 38 for i in range(count)]


def filled(folder: Path, count: int) -> Store:
    store = Store(folder)
    for i, name in enumerate(names(count)):
        store.put("face", name, finished(3 + i))
    return store


def landmarks_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.npz") if "points" in np.load(path).files]


def test_landmarks_are_dropped_from_all_that_is_finished(tmp_path: Path) -> None:
    store, bare = filled(tmp_path, 3), Store(tmp_path / "never")
    store.put("face", "cd" + KEY[2:], Failure("Nobody is seen."))
    store.put("face", "ef" + KEY[2:], replace(finished(), landmarks=None))  # OpenFace's, say
    damaged = tmp_path / "face" / names(3)[2][:2] / f"{names(3)[2]}.npz"
    damaged.write_bytes(damaged.read_bytes()[:500])
    assert store.drop_landmarks("face") == 2
    assert landmarks_in(tmp_path) == []
    for i, name in enumerate(names(2)):
        assert store.state("face", name) is None
        assert store.result("face", name + WITHOUT_LANDMARKS, COLUMNS).landmarks is None
        bare.put("face", name + WITHOUT_LANDMARKS, replace(finished(3 + i), landmarks=None))
        assert (
            path_of(tmp_path, name + WITHOUT_LANDMARKS).read_bytes()
            == path_of(tmp_path / "never", name + WITHOUT_LANDMARKS).read_bytes()
        )
    assert not damaged.exists()
    assert store.state("face", names(3)[2] + WITHOUT_LANDMARKS) is None
    assert store.failure("face", "cd" + KEY[2:] + WITHOUT_LANDMARKS) == Failure("Nobody is seen.")
    assert store.state("face", "ef" + KEY[2:]) is Result
    assert store.drop_landmarks("face") == 0


def path_of(folder: Path, name: str) -> Path:
    return folder / "face" / name[:2] / f"{name}.npz"


DROP = """
import sys, time
from pathlib import Path
from bemerc.extraction.store import Store
real = Path.unlink
def slowly(path, missing_ok=False):
    print("about to unlink", flush=True)
    time.sleep(float(sys.argv[2]))
    real(path, missing_ok=missing_ok)
Path.unlink = slowly
print(Store(Path(sys.argv[1])).drop_landmarks("face"))
"""


def dropping(folder: Path, pause_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DROP, str(folder), str(pause_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("lines", [1, 2, 3, 4])
def test_a_kill_while_landmarks_are_dropped_loses_nothing(tmp_path: Path, lines: int) -> None:
    store = filled(tmp_path, 3)
    process = dropping(tmp_path, 0.1)
    assert process.stdout is not None
    for _ in range(lines):  # of every piece the half-written file is unlinked, then the one with landmarks
        process.stdout.readline()
    process.kill()
    process.communicate()
    for name in names(3):
        assert any(store.state("face", name + mark) is Result for mark in ("", WITHOUT_LANDMARKS))
    left = len(landmarks_in(tmp_path / "face"))
    assert left > 0
    assert store.drop_landmarks("face") == left
    assert landmarks_in(tmp_path / "face") == []
    for i, name in enumerate(names(3)):
        np.testing.assert_array_equal(
            store.result("face", name + WITHOUT_LANDMARKS, COLUMNS).features.values, finished(3 + i).features.values
        )


def test_two_processes_drop_landmarks_at_once(tmp_path: Path) -> None:
    store = filled(tmp_path, 40)
    both = [dropping(tmp_path, 0.002) for _ in range(2)]
    dropped = [process.communicate()[0].splitlines()[-1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(map(int, dropped)) >= 40
    assert landmarks_in(tmp_path) == []
    assert all(store.state("face", name + WITHOUT_LANDMARKS) is Result for name in names(40))


def test_a_full_disk_is_an_error_and_leaves_no_half_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("face", KEY, finished())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(StoreError):
            store.put("face", "cd" + KEY[2:], finished(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.state("face", "cd" + KEY[2:]) is None
    assert store.state("face", KEY) is Result
    assert list((tmp_path / "partial").iterdir()) == []


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    store, partial = Store(tmp_path), tmp_path / "partial"
    earlier = [partial / f"{KEY}.{i:016x}.npz" for i in range(2)]  # as earlier releases called them
    spared = [partial / "somebody's.npz", partial / "folder"]
    for path in (*earlier, spared[0]):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - 7200,) * 2)
    spared[1].mkdir()
    os.utime(earlier[1])
    store.sweep()
    assert [path.exists() for path in (*earlier, *spared)] == [False, True, True, True]
    store.set_landmarks(False)
    store.sweep()
    assert not earlier[1].exists(), "there may be landmarks in it"


SWEEP = """
import sys, time
from pathlib import Path
from bemerc.extraction.store import Store
store, end = Store(Path(sys.argv[1])), time.monotonic() + 2
while time.monotonic() < end:
    store.sweep()
"""


def test_sweeping_beside_a_writer_disturbs_neither(tmp_path: Path) -> None:
    sweeper = subprocess.Popen([sys.executable, "-c", SWEEP, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    store, count = Store(tmp_path), 0
    while sweeper.poll() is None:
        store.put("face", f"{count:02x}"[:2] + f"{count:038d}", Failure("x"))
        count += 1
    assert sweeper.communicate()[1] == ""
    assert sweeper.returncode == 0
    assert len(list(tmp_path.glob("face/*/*.json"))) == count > 100


def test_a_store_in_the_way_of_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        Store(tmp_path / "file")


def read(store: Store, *paths: Path) -> list[str]:
    result = FileHashCache(store.folder).hash(paths, lambda _: None)
    return [result.reason if isinstance(result, UnreadableFile) else result[1] for result in result.values()]


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    store, path = Store(tmp_path / "store"), tmp_path / "clip.mp4"
    path.write_bytes(b"one")
    read(store, path)
    assert (
        FileHashCache(store.folder).lookup(path, file_identity(path)) is None
    )  # too young: it might change within the clock's tick
    os.utime(path, (time.time() - 60,) * 2)
    (content,) = read(store, path)
    assert FileHashCache(store.folder).lookup(path, file_identity(path)) == content
    path.write_bytes(b"two")
    assert FileHashCache(store.folder).lookup(path, file_identity(path)) is None
    assert read(store, path) != [content]
    assert "There is no file" in read(store, tmp_path / "gone.mp4")[0]


def cached_hash(store: Store, path: Path) -> str:
    """A clip that was hashed into ``store``'s memory."""
    path.write_bytes(b"one")
    os.utime(path, (time.time() - 60,) * 2)
    return read(store, path)[0]


def test_damaged_lines_of_the_hash_cache_are_ignored(tmp_path: Path) -> None:
    store, path = Store(tmp_path / "store"), tmp_path / "clip.mp4"
    content = cached_hash(store, path)
    lines, deep = store.folder / "contents.jsonl", "[" * 100_000
    odd = ['["a", 1, 2', "[1]", "{}", "12", "null", '["a", 1, 2, 3, 4]', '["a", "1", true, 3, "x"]', '"abcde"', deep]
    lines.write_text("\n".join([*odd, lines.read_text(encoding="utf-8")]), encoding="utf-8")
    assert FileHashCache(store.folder).lookup(path, file_identity(path)) == content


def test_the_hash_cache_holds_no_path(tmp_path: Path) -> None:
    store, path = Store(tmp_path / "store"), tmp_path / "secret name.mp4"
    content = cached_hash(store, path)
    lines = store.folder / "contents.jsonl"
    assert "secret" not in lines.read_text()
    assert stat.S_IMODE(lines.stat().st_mode) == 0o600
    earlier = [str(path), *json.loads(lines.read_text())[1:]]  # as earlier releases wrote it
    lines.write_text(json.dumps(earlier) + "\n")
    assert FileHashCache(store.folder).lookup(path, file_identity(path)) == content
    assert "secret" not in lines.read_text()
    assert FileHashCache(store.folder).lookup(path, file_identity(path)) == content


def test_a_hash_cache_that_is_a_folder_costs_time_only(tmp_path: Path) -> None:
    store, path = Store(tmp_path / "store"), tmp_path / "clip.mp4"
    (store.folder / "contents.jsonl").mkdir()
    content = cached_hash(store, path)
    assert len(content) == 64
    assert FileHashCache(store.folder).lookup(path, file_identity(path)) is None
