"""Every reader against damaged files.

    python -m benchmarks.fuzz [--count 10000] [--seed 1] [--only NAME ...]

Sound files of every kind that bemerc reads (clips, frame caches, tokens, finished clips, pickles, arrays, tables,
subtitles, JSON, YAML, model folders) are made by bemerc's own writers and by the libraries that others use, spoiled in
seeded ways and read as the commands read them. Each file is read in a child process with a time limit. What must come
out is the content or a BemercError, a sentence. A stack trace, a crash, a hang or more than 1 GB of memory is a fault:
it is listed with the seed that makes the file again, the file is kept (``--keep DIR``), and the exit code is 1.

Prints a row per reader: files, read whole, refused in a sentence, faults, the slowest file, the highest memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bemerc.core.errors import BemercError
from benchmarks.fuzz_readers import READERS, Reader

# One file's limits: longer than this is a hang, more than this is too much for what a stranger's file may ask.
LIMIT_S = 20.0
LIMIT_MB = 1000
# A child that has read so many files makes room for a new one: what a library leaks is not the file's fault.
FILES_PER_CHILD = 500

# What parsers trip over: numbers out of range, other types, markup, quotes, nesting, directions of writing.
NASTY = [
    b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"99999999999999999999", b"1e-300", b"null", b"true", b"[]", b"{}",
    b'""', b'"\\u0000"', b'"\\ud800"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\r\n", b"-->", b"<v ", b"{\\an8}", b"00:00:00,000",
    b"&a [*a,*a]", b"!!python/object:os.system", b"- " * 50, b"[" * 200, b"{" * 200, b'"' * 3, b",,,,", b"\t", b"=cmd()", b"../../etc",
    "\u202e\u2028".encode(), "é".encode("latin-1"), b"9" * 400, b"a" * 5000,
]  # fmt: skip


@dataclass
class Tally:
    """What became of the files of one reader."""

    files: int = 0
    whole: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_mb: float = 0.0


# ------------------------------------------------------------------------------------------------------------- damage


def spoil(data: bytes, rng: random.Random, text: bool) -> bytes:
    """``data`` with one to four kinds of damage."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_TEXT_DAMAGE if text and rng.random() < 0.7 else _BYTE_DAMAGE)(data, rng)
    return data


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _hole(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.randrange(1, 500) :]


def _zeros(data: bytes, rng: random.Random) -> bytes:
    at, long = rng.randrange(len(data) + 1), rng.randrange(1, 2000)
    return data[:at] + bytes(len(data[at : at + long])) + data[at + long :]


def _bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 30) if changed else 0):
        changed[rng.randrange(len(changed))] = rng.choice((0, 127, 128, 255, rng.randrange(256)))
    return bytes(changed)


def _head(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 8) if changed else 0):
        changed[rng.randrange(min(len(changed), 600))] = rng.randrange(256)
    return bytes(changed)


def _twice(data: bytes, rng: random.Random) -> bytes:
    at, long = rng.randrange(len(data) + 1), rng.randrange(1, 3000)
    return data[:at] + data[at : at + long] * rng.choice((2, 3, 50)) + data[at + long :]


def _nasty(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(NASTY) + data[at + rng.choice((0, 0, 1, 5)) :]


def _number(data: bytes, rng: random.Random) -> bytes:
    return _in_place_of(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?", data, rng)


def _word(data: bytes, rng: random.Random) -> bytes:
    return _in_place_of(rb'"[^"\n]*"|[A-Za-z_]+', data, rng)


def _in_place_of(pattern: bytes, data: bytes, rng: random.Random) -> bytes:
    places = list(re.finditer(pattern, data))
    if not places:
        return _nasty(data, rng)
    place = rng.choice(places)
    return data[: place.start()] + rng.choice(NASTY) + data[place.end() :]


def _lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    how = rng.randrange(4)
    if how == 0:
        del lines[at]
    elif how == 1:
        lines.insert(at, lines[other])
    elif how == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = lines[at].strip()
    return b"".join(lines)


_BYTE_DAMAGE = (_cut, _hole, _zeros, _bytes, _bytes, _head, _twice, _nasty)
_TEXT_DAMAGE = (_number, _number, _word, _word, _lines, _nasty)


def spoil_archive(path: Path, rng: random.Random) -> bytes:
    """A zip of arrays with damaged members and correct checksums, which passes a reader that checks those."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    members[name] = spoil(members[name], rng, text=False)
    with tempfile.TemporaryFile() as made:
        with zipfile.ZipFile(made, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        made.seek(0)
        return made.read()


# ------------------------------------------------------------------------------------------------------------ the trial


def _child(name: str, pipe: Connection) -> None:
    """Read every file that comes through the pipe; answer (outcome, message, seconds, peak memory in MB)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries complain of damage, which is what was asked for
    reader = next(reader for reader in READERS if reader.name == name)
    for path in iter(pipe.recv, None):
        begun = time.monotonic()
        try:
            reader.read(path)
            outcome, word = "whole", ""
        except BemercError as error:
            outcome, word = "refused", str(error)
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            outcome, word = "fault", f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"[:300]
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        pipe.send((outcome, word, time.monotonic() - begun, peak_mb))


class _Children:
    """One child at a time, replaced when it dies, hangs, takes too much memory or has read its share."""

    def __init__(self, name: str) -> None:
        self._name, self._context = name, multiprocessing.get_context("spawn")
        self._process: Any = None
        self._read = 0

    def read(self, path: Path) -> tuple[str, str, float, float]:
        """What became of one file."""
        if self._process is None or self._read >= FILES_PER_CHILD:
            self._begin()
        self._read += 1
        self._pipe.send(path)
        # The first file waits for the imports too.
        if not self._pipe.poll(LIMIT_S + (60 if self._read == 1 else 0)):
            self.end()
            return "fault", f"It was not read within {LIMIT_S:g} s.", LIMIT_S, 0.0
        try:
            outcome, word, seconds, peak_mb = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self.end()
            return "fault", f"The process died with exit code {code}.", 0.0, 0.0
        if peak_mb > LIMIT_MB:
            self.end()
            return "fault", f"The process came to {peak_mb:.0f} MB.", seconds, peak_mb
        return outcome, word, seconds, peak_mb

    def _begin(self) -> None:
        self.end()
        self._pipe, far = self._context.Pipe()
        self._process = self._context.Process(target=_child, args=(self._name, far), daemon=True)
        self._process.start()
        far.close()
        self._read = 0

    def end(self) -> None:
        """No child is left."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def _spoiled(seeds: Sequence[Path], reader: Reader, folder: Path, count: int, seed: int) -> Iterator[tuple[int, Path]]:
    """``count`` files, one at a time: (its seed, the file); the same seed gives the same bytes."""
    for i in range(count):
        rng = random.Random(f"{reader.name} {seed} {i}")
        whole = seeds[i % len(seeds)]
        data = spoil_archive(whole, rng) if whole.suffix == ".npz" and rng.random() < 0.7 else None
        place = folder / "one"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        path = place / whole.name
        path.write_bytes(data if data is not None else spoil(whole.read_bytes(), rng, reader.text))
        yield i, path


def attack(reader: Reader, count: int, seed: int, keep: Path | None) -> Tally:
    """Spoil and read ``count`` files."""
    tally = Tally()
    children = _Children(reader.name)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "seeds").mkdir()
        seeds = reader.seeds(folder / "seeds")
        for path in seeds:
            outcome, word, _, _ = children.read(_copied(path, folder))
            assert outcome == "whole", f"{reader.name}: {path.name} is sound and was not read: {word}"
        for i, path in _spoiled(seeds, reader, folder, count, seed):
            outcome, word, seconds, peak_mb = children.read(path)
            tally.files += 1
            tally.whole += outcome == "whole"
            tally.refused += outcome == "refused"
            tally.slowest_s, tally.peak_mb = max(tally.slowest_s, seconds), max(tally.peak_mb, peak_mb)
            if outcome == "fault":
                tally.faults.append(f"{reader.name} {i}: {word}")
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, keep / f"{reader.name.replace(' ', '_')}_{seed}_{i}{path.suffix}")
    children.end()
    return tally


def _copied(path: Path, folder: Path) -> Path:
    place = folder / "whole"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return Path(shutil.copy(path, place))


def _by_kind(faults: Sequence[str]) -> dict[str, list[str]]:
    """What went wrong, numbers aside -> the faults of that kind: one kind with many faults does not hide the others."""
    result: dict[str, list[str]] = {}
    for fault in faults:
        name, _, word = fault.partition(": ")
        result.setdefault(re.sub(r"\d[\d.]*", "N", f"{name.rpartition(' ')[0]}: {word}"), []).append(fault)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Every reader against damaged files.")
    parser.add_argument("--count", type=int, default=10_000, help="spoiled files in all, shared among the readers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=[reader.name for reader in READERS], help="these readers alone")
    parser.add_argument("--keep", type=Path, help="a folder for the files at which a reader failed")
    given = parser.parse_args()
    chosen = [reader for reader in READERS if not given.only or reader.name in given.only]
    each, faults = -(-given.count // len(chosen)), []
    print(f"{'reader':16} {'files':>6} {'whole':>6} {'refused':>8} {'faults':>7} {'slowest s':>10} {'peak MB':>8}")
    for reader in chosen:
        tally = attack(reader, each, given.seed, given.keep)
        row = f"{reader.name:16} {tally.files:6} {tally.whole:6} {tally.refused:8} {len(tally.faults):7}"
        print(f"{row} {tally.slowest_s:10.2f} {tally.peak_mb:8.0f}", flush=True)
        faults += tally.faults
    for kind, alike in _by_kind(faults).items():
        print(f"  {len(alike)} times {kind}, first {alike[0]}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
