"""Read CH-SIMS and CH-SIMS v2: people labelled the words, the voice and the picture of every clip on their own, too.

Layout, as MMSA reads it: a table (label.csv; meta.csv in v2) with the columns video_id, clip_id, text, label, label_T,
label_A, label_V, annotation, mode, and clips Raw/VIDEO/CLIP.mp4. The corpus is licensed, and nothing of it is here.

Labels are values from -1 to 1. Three polarities are made of them by MMSA's borders (MetricsTop, __eval_sims_regression):
[-1, -0.1] negative, (-0.1, 0.1] neutral, (0.1, 1] positive. Yu et al. 2020, "CH-SIMS: A Chinese Multimodal Sentiment
Analysis Dataset with Fine-grained Annotation of Modality"; Liu et al. 2022, "Make Acoustic and Visual Cues Matter:
CH-SIMS v2.0 Dataset and AV-Mixup Consistent Module".

The published splits are by clip: one video has clips in train, valid and test. So a dialogue is the clips of one video in
one split, in their order, and a history shows what that split has of the video.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus.delimited import Row, Table, read_table
from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import NOBODY, Split, Utterance
from bemerc.corpus.readers.table import name_faults
from bemerc.corpus.reading import VIDEO, Finding, Reading, natural_id, of_words, person, stop_at

LABELS = LABEL_SETS["sentiment3"]
TABLES = ("label.csv", "meta.csv")
NEEDED = ("video_id", "clip_id", "text", "label", "mode")
# Column of the table -> field of Utterance.
SIDES = {"label_T": "label_text", "label_A": "label_voice", "label_V": "label_face"}
_SPLITS: Mapping[str, Split] = {"train": "train", "valid": "dev", "val": "dev", "dev": "dev", "test": "test"}
# How the mode of v2's clips without labels may begin; they are history in train.
_UNLABELLED = ("unsup", "unlabel")


@dataclass(frozen=True)
class Params:
    """How to read CH-SIMS.

    folder  with the table and Raw in it
    table   the table's name there; "" = label.csv, or meta.csv
    cut     values up to so far from 0 are neutral; 0.1 is MMSA's border
    """

    folder: str = "data/ch_sims"
    table: str = ""
    cut: float = 0.1

    def check(self) -> list[str]:
        """Values that types cannot refuse."""
        return [] if 0 <= self.cut < 1 else [f"cut: must be from 0 to below 1, not {self.cut}."]


def read(params: Params, name: str = "ch_sims") -> Reading:
    """Read the corpus; ids are ``name/VIDEO/CLIP``, dialogues ``name/SPLIT/VIDEO``, a clip's number with its zeros.

    A value that is no number from -1 to 1 is no label, with a finding; so is a clip that is not there. Raises CorpusError,
    listing every fault: no table, missing columns, unknown modes, different rows of one clip.
    """
    root = Path(params.folder)
    table = read_table(_table(root, params, name))
    missing = [f"{printable(table.path)}: the column '{c}' is missing." for c in NEEDED if c not in table.columns]
    stop_at(missing, f"The table has the columns {', '.join(NEEDED)}, and may have {', '.join(SIDES)} and speaker.")
    faults: list[str] = []
    findings = [
        Finding("row", f"{table.path}, line {n}", why, "leaves out", True) for n, why in table.misshapen.items()
    ]
    rows = _distinct(table, [row for row in table.rows if _is_usable(table, row, findings)], faults, findings)
    clips, extra = _clips(root / "Raw", {_key(row) for row in rows})
    utterances = [u for row in rows if (u := _utterance(table, row, clips, params, name, faults, findings))]
    stop_at(faults, findings=findings)
    ordered = _in_order(utterances)
    findings += [*extra, *_of_clips(ordered, root / "Raw"), *_of_words(table, ordered), *_of_splits(ordered, name)]
    return Reading(name, ordered, LABELS, tuple(findings))


def polarity(value: float, cut: float) -> str:
    """A value from -1 to 1 -> negative, neutral or positive, by MMSA's half-open borders.

    >>> [polarity(value, 0.1) for value in (-1.0, -0.1, 0.0, 0.1, 0.2)]
    ['negative', 'negative', 'neutral', 'neutral', 'positive']
    """
    negative, neutral, positive = LABELS
    return positive if value > cut else negative if value <= -cut and value < 0 else neutral


def _table(root: Path, params: Params, name: str) -> Path:
    if not root.is_dir():
        raise CorpusError(
            f"there is no such folder. Set prepare.{name}.folder to where the corpus lies.", path=root, missing=True
        )
    candidates = [root / file for file in ((params.table,) if params.table else TABLES)]
    existing = next((path for path in candidates if path.is_file()), None)
    if existing is None:
        listed = " or ".join(path.name for path in candidates)
        raise CorpusError(
            f"there is no {listed} in it. Set prepare.{name}.folder, or prepare.{name}.table.", path=root, missing=True
        )
    return existing


# ----------------------------------------------------------------------------------------------------------------- rows


def _key(row: Row) -> tuple[str, str]:
    """(video, clip): a number without its zeros, which spreadsheets and pandas drop, gets them back."""
    clip = row.cells["clip_id"].strip()
    return row.cells["video_id"].strip(), clip.zfill(4) if clip.isdecimal() else clip


def _is_usable(table: Table, row: Row, findings: list[Finding]) -> bool:
    video, clip = _key(row)
    wrong = [*name_faults("video_id", video), *name_faults("clip_id", clip)]
    wrong += [f"{column} must not hold '/'." for column, id in (("video_id", video), ("clip_id", clip)) if "/" in id]
    if wrong:
        findings.append(Finding("row", f"{table.path}, line {row.line}", " ".join(wrong), "leaves out", True))
    return not wrong


def _distinct(table: Table, rows: Sequence[Row], faults: list[str], findings: list[Finding]) -> list[Row]:
    """The first row of every clip; the same row again is a finding, another one a fault."""
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        other = first.setdefault(_key(row), row)
        if other is row:
            continue
        where = f"{table.path}, line {row.line}"
        reason = f"{'/'.join(_key(row))} stands on line {other.line} already"
        if row.cells == other.cells:
            findings.append(Finding("duplicate", where, f"{reason}, word for word.", "leaves out"))
        else:
            faults.append(f"{printable(where)}: {printable(reason)}, with other cells. Keep one of the two.")
    return list(first.values())


def _utterance(
    table: Table,
    row: Row,
    clips: Mapping[tuple[str, str], Path],
    params: Params,
    name: str,
    faults: list[str],
    findings: list[Finding],
) -> Utterance | None:
    video, clip = _key(row)
    id_, mode = f"{name}/{video}/{clip}", row.cells["mode"].strip().lower()
    unlabelled = mode.startswith(_UNLABELLED)
    split = "train" if unlabelled else _SPLITS.get(mode)
    if split is None:
        faults.append(
            f"{printable(table.path)}, line {row.line}, {printable(id_)}: mode must be train, valid or test, or begin with "
            f"{' or '.join(_UNLABELLED)}, not '{printable(mode, 40)}'."
        )
        return None
    label, text, voice, face = (
        None if unlabelled else _label(row.cells.get(column, ""), table.delimiter, column, id_, params.cut, findings)
        for column in ("label", *SIDES)
    )
    path = clips.get((video, clip))
    return Utterance(
        id=id_,
        dialogue=f"{name}/{split}/{video}",
        index=0,
        speaker=person(row.cells.get("speaker", NOBODY)),
        text=row.cells["text"],
        label=label,
        split=split,
        clip=None if path is None else str(path),
        label_text=text,
        label_voice=voice,
        label_face=face,
    )


def _label(written: str, delimiter: str, column: str, id_: str, cut: float, findings: list[Finding]) -> str | None:
    """A cell's polarity; None where it is blank or, with a finding, no number from -1 to 1. Spreadsheets that part cells by
    ";" write 0,8."""
    if written.strip().lower() in ("", "nan"):
        return None
    try:
        value = float(written if delimiter == "," else written.replace(",", "."))
    except ValueError:
        value = math.nan
    if -1 <= value <= 1:
        return polarity(value, cut)
    reason = f"{column} must be a number from -1 to 1, not '{printable(written, 40)}'; it counts as no label."
    findings.append(Finding("label", id_, reason, needs_you=True))
    return None


def _in_order(utterances: Iterable[Utterance]) -> tuple[Utterance, ...]:
    """The clips of a dialogue by their numbers, which may have gaps."""
    position: Counter[str] = Counter()
    ordered = []
    for u in sorted(utterances, key=lambda u: natural_id(u.id)):
        ordered.append(replace(u, index=position[u.dialogue]))
        position[u.dialogue] += 1
    return tuple(ordered)


# -------------------------------------------------------------------------------------------------------- clips, findings


def _clips(raw: Path, wanted: set[tuple[str, str]]) -> tuple[dict[tuple[str, str], Path], list[Finding]]:
    """(video, clip) -> file, and files that belong to no row."""
    clips: dict[tuple[str, str], Path] = {}
    findings = []
    for path in sorted(raw.glob("*/*"), key=lambda p: (VIDEO.index(p.suffix.lower()) if _is_video(p) else 0, p)):
        key = path.parent.name, path.stem.zfill(4) if path.stem.isdecimal() else path.stem
        if path.name.startswith("._"):
            reason = "macOS left this shadow file."
        elif not _is_video(path):
            reason = "It is no video by its name's end."
        elif key not in wanted:
            reason = "No row has this video and clip: it has no words and no label."
        elif key in clips:
            reason = f"{clips[key].name} is read in its place."
        else:
            clips[key] = path
            continue
        findings.append(Finding("extra", path.as_posix(), reason, "leaves out"))
    return clips, findings


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO


def _of_clips(utterances: Sequence[Utterance], raw: Path) -> list[Finding]:
    if not raw.is_dir():
        reason = f"There is no folder {raw} with the clips of {len(utterances)} utterances."
        return [Finding("missing", str(raw), reason, "keeps without video", needs_you=True)]
    return [
        Finding(
            "missing",
            u.id,
            f"There is no {raw / '/'.join(u.id.split('/')[-2:])}.mp4.",
            "keeps without video",
            needs_you=True,
        )
        for u in utterances
        if u.clip is None
    ]


def _of_words(table: Table, utterances: Iterable[Utterance]) -> list[Finding]:
    findings = []
    if reason := table.decoded.describe_odd_lines():
        findings.append(Finding("encoding", str(table.path), reason))
    for u in utterances:
        findings += of_words(u)
    return findings


def _of_splits(utterances: Iterable[Utterance], name: str) -> list[Finding]:
    """One finding where videos have clips in several splits, as the published ones do."""
    splits: dict[str, set[str]] = {}
    for u in utterances:
        splits.setdefault(u.dialogue.partition("/")[2].partition("/")[2], set()).add(u.split)
    several = sum(len(names) > 1 for names in splits.values())
    reason = (
        f"{several} of {len(splits)} videos have clips in several splits, as the corpus was published: what is tested shows "
        "people and scenes of train."
    )
    return [Finding("split", name, reason)] if several else []
