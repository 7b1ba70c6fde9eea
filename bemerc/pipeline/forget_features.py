"""Forget a person or a clip in a folder of features, which ``bemerc extract`` made of clips (``bemerc forget --features``).

No manifest says there who is who, and the clips may be gone: ids are those of the caches, names those of utterances.csv.
Caches are written again without the rows, so that everybody else's stay. In the store, a result stays whose rows one of
the others has in a cache; without a name in it, any other result may be the person's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bemerc.cache import KINDS, caches_at, is_part, open_cache, split_other
from bemerc.core.errors import BemercError
from bemerc.core.objects import Url
from bemerc.core.terminal import printable
from bemerc.corpus.delimited import read_table
from bemerc.corpus.manifest import listener_id
from bemerc.corpus.reading import SOUND, VIDEO, listed
from bemerc.extraction.forget import forget_results, keys_of_rows, rows_digest
from bemerc.extraction.remote_store import store_at
from bemerc.pipeline import forget_remote
from bemerc.pipeline.forget import Forgotten, forget_file
from bemerc.pipeline.mentions import Gone, without_rows

_STORE = "store"


def run(folder: Path, whom: str, *, really: bool, out: Url | None = None) -> Forgotten:
    """Forget ``whom``: a speaker as utterances.csv has it, an utterance by its id, or a clip by its name or path below the
    clips' folder (with all its cues).

    really  False: only find out what would be done
    out     where the folder stands before an object store: there too

    BemercError where there is no cache in the folder, or nobody has that name.
    """
    caches = _caches(folder)
    if not caches:
        caches_at(folder)  # says what is missing
    speakers = _speakers(folder)
    measured, pictures = set[str](), set[tuple[str, str]]()
    for path in caches:
        with open_cache(path) as cache:
            measured |= {*cache.ids}
            pictures |= {split_other(id_) for id_ in cache.others or ()}
    ids = {id_ for id_ in measured | speakers.keys() if whom == speakers.get(id_) or _is_of(id_, whom)}
    listening = {id_ for id_, name in pictures if name == whom}
    if not ids and not listening:
        people = listed(sorted({name for name in speakers.values() if name})) or "not known"
        some = ", ".join(printable(id_, 100) for id_ in sorted(measured)[:3])
        raise BemercError(
            f"'{printable(whom)}' is no speaker, no utterance and no clip of {printable(folder)}. The speakers are: {people}. "
            f"Utterances are, for example: {some}."
        )
    gone = Gone(frozenset(ids), whom if whom in speakers.values() or listening else "")
    done = Forgotten(tuple(sorted(ids)))
    theirs, others = set[str](), set[str]()
    for path in caches:
        with open_cache(path) as cache:
            lost = gone.of(cache)
            for id_, digest in cache.sources.items():
                (theirs if id_ in lost else others).add(digest)
            if count := gone.count(cache):
                done.rows[path] = count
    done.results = _forget_results(folder, gone, theirs - others, really)
    names = ids | {listener_id(id_) for id_ in ids | listening} | theirs - others
    for path in _files(folder, caches):
        forget_file(path, names, gone, {Path(_clip_of(id_)) for id_ in ids}, done, really)
    if really:
        for path in done.rows:
            without_rows(path, gone)
    done.left = list(_left(folder, ids, bool(pictures)))
    if out is not None:
        done.removed += forget_remote.forget_copies(really)
        done.left += forget_remote.left(out)
        if really:
            forget_remote.repeat(folder, out, done.removed)
    return done


def _caches(folder: Path) -> list[Path]:
    """The caches of a folder and below it, as single clips have folders of their own."""
    files = (path for kind in KINDS for path in folder.rglob(f"{kind}.h5"))
    return sorted(path for path in files if _STORE not in path.relative_to(folder).parts[:-1])


def _speakers(folder: Path) -> dict[str, str]:
    """Utterance -> speaker ("" where nobody is named), by the tables of the folder."""
    speakers: dict[str, str] = {}
    for path in sorted(folder.rglob("utterances.csv")):
        table = read_table(path)
        if {"id", "speaker"} <= {*table.columns}:
            speakers |= {row.cells["id"]: row.cells["speaker"] for row in table.rows}
    return speakers


def _is_of(id_: str, whom: str) -> bool:
    """Whether an utterance is the one named, or of the clip or the folder named."""
    name = PurePosixPath(whom)
    stem = whom.removesuffix(name.suffix) if name.suffix.lower() in VIDEO + SOUND else whom
    return id_ in (whom, stem) or id_.startswith(f"{stem}/") or PurePosixPath(_clip_of(id_)).name == stem


def _clip_of(id_: str) -> str:
    """The clip of an utterance, by its id: of a cue, such as talk/0003, without the number."""
    clip, _, last = id_.rpartition("/")
    return clip if clip and len(last) == 4 and last.isdigit() else id_


def _forget_results(folder: Path, gone: Gone, clip_hashes: set[str], really: bool) -> int:
    """Remove from the folder's store, or from the one beside it where single clips share one, what is not the others'."""
    top = folder if (folder / _STORE).is_dir() else folder.parent
    if not (top / _STORE).is_dir():
        return 0
    here, rows = folder.resolve(), dict[str, set[str]]()
    for path in _caches(top):
        inside = path.resolve().is_relative_to(here)
        with open_cache(path) as cache:
            kept = rows.setdefault(cache.modality, set())
            for part in (cache, *([cache.others] if cache.others is not None else [])):
                lost = gone.of(part) if inside else ()
                kept |= {rows_digest(part.unchecked(id_)) for id_ in part if id_ not in lost}
    store = store_at(top / _STORE)
    return forget_results(store, keys_of_rows(store, rows), clip_hashes, really=really)


def _files(folder: Path, caches: list[Path]) -> Iterator[Path]:
    """The files that may mention somebody: not the caches, not the store's results, no videos."""
    for path in sorted(folder.rglob("*")):
        in_store = _STORE in path.relative_to(folder).parts[:-1] and path.parent.name != _STORE
        is_media = path.suffix.lower() in VIDEO + SOUND
        if path.is_file() and not (path.is_symlink() or in_store or is_media or path in caches or is_part(path.name)):
            yield path


def _left(folder: Path, ids: set[str], everybody: bool) -> Iterator[str]:
    clips = sorted({_clip_of(id_) for id_ in ids})
    if clips:
        yield (
            f"The clips, {len(clips)}, such as {printable(clips[0], 200)}, with their subtitles, wherever they lie: delete "
            "them, else the same `bemerc extract` measures them again."
        )
    if everybody:
        yield "Their face in others' utterances, where they were in the picture under a number (--keep all)."
    videos = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in VIDEO + SOUND and path.is_file()]
    if videos:
        yield f"{len(videos)} videos or sounds in this folder, such as {printable(videos[0], 200)}: look whether they are theirs."
    yield "What was made of others' turns with their words as history; and their name in others' words."
    yield "Models that were trained on these features, and whatever was copied or exported elsewhere: pages, tables, videos."
