"""Read MELD and other corpora in its shape: three CSV files, and a clip per utterance.

The embedded sample has this shape too. Rows are read by meld_tables.py, clips found by meld_clips.py, faults of the
corpus listed by meld_findings.py.

Facts: the CSV files themselves; github.com/declare-lab/MELD, its issues 9, 20, 22, 27 and 39 for the damaged clips.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bemerc.core.errors import CorpusError
from bemerc.corpus.manifest import SPLITS, Split, Utterance
from bemerc.corpus.readers import meld_findings
from bemerc.corpus.readers.meld_clips import choose_clips, list_clips, other_clip
from bemerc.corpus.readers.meld_tables import (
    LABELS,
    Turn,
    clean_text,
    dialogue_id,
    is_too_long,
    open_table,
    read_turns,
    utterance_id,
)
from bemerc.corpus.reading import Finding, Reading, person, stop_at

# Documented faults of the published corpus, by split and number of the clip.
ERRATA: dict[tuple[Split, int, int], str] = {
    ("train", 125, 3): "The published clip is corrupt",
    ("dev", 110, 7): "The published archive lacks this clip",
    ("test", 38, 4): "The published times span 305 s: cut minutes too long",
    ("test", 220, 0): "The published times span 235 s: cut minutes too long",
    ("train", 309, 0): "The published times span 41 s: cut too long, and a stage direction stands in the words",
    ("test", 155, 3): "The published times span 0.000 s",
    ("train", 338, 3): "The published times span 0.006 s",
}


@dataclass(frozen=True)
class Params:
    """How to read a corpus in MELD's shape.

    folder     where the CSV files lie, or a folder above them
    variant    full: {split}_sent_emo.csv; dyadic: {split}_sent_emo_dya.csv, the clips by their old numbers
    text       repair: undo mojibake and straighten curly quotes; keep: as the file has it, only reported
    longest_s  an utterance with a longer span is mis-cut: it keeps its words and goes without video
    twins      final: take final_videos_testdiaX_uttY where there is one; plain: ignore it, as the authors advise
    clips      split -> folder of its clips, for other folder names than the usual ones
    """

    folder: str = "data/meld"
    variant: Literal["full", "dyadic"] = "full"
    text: Literal["repair", "keep"] = "repair"
    longest_s: float = 40.0
    twins: Literal["plain", "final"] = "plain"
    clips: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> list[str]:
        """Values that types cannot refuse."""
        faults = [
            f"clips: '{split}' is not a split; these are train, dev, test."
            for split in self.clips
            if split not in SPLITS
        ]
        if self.longest_s <= 0:
            faults.append(f"longest_s: must be above 0, not {self.longest_s}.")
        return faults


def read(params: Params, name: str = "meld") -> Reading:
    """Read all three splits. Ids are ``name/split/diaX_uttY``; those of the dyadic variant start with ``name-dyadic``.

    Rows of another width or with invalid numbers are left out, with a finding. Raises CorpusError, listing every fault
    with file, line and id: missing files or columns, unknown emotions, different rows with one key.
    """
    root = Path(params.folder)
    if not root.is_dir():
        raise CorpusError(
            f"there is no such folder. Set prepare.{name}.folder to where the corpus lies.", path=root, missing=True
        )
    prefix = name if params.variant == "full" else f"{name}-dyadic"
    tables = {split: open_table(root, split, params, name) for split in SPLITS}
    faults: list[str] = []
    findings: list[Finding] = []
    turns = [turn for split in SPLITS for turn in read_turns(tables[split], split, params, prefix, faults, findings)]
    stop_at(faults, findings=findings)
    clips = {split: list_clips(root, split, params) for split in SPLITS}
    chosen, errata = choose_clips(turns, clips, params), _errata(turns, prefix, name)
    utterances = _utterances(turns, chosen, params, prefix)
    findings += meld_findings.encoding_findings(tables, prefix)
    findings += meld_findings.text_findings(turns, params, prefix)
    findings += meld_findings.gap_findings(turns, prefix)
    findings += meld_findings.order_findings(turns, prefix)
    findings += meld_findings.repeated_findings(turns, prefix) if params.variant == "full" else []
    findings += meld_findings.clip_findings(turns, clips, chosen, params, prefix, errata)
    findings += [
        Finding("known", u.id, f"{errata[u.id]}.", "keeps" if u.clip else "keeps without video")
        for u in utterances
        if u.id in errata
    ]
    spans_s = {utterance_id(prefix, turn): turn.span_s for turn in turns if turn.span_s is not None}
    twins = {utterance_id(prefix, t): str(twin) for t in turns if (twin := other_clip(t, clips, chosen)) is not None}
    return Reading(name, utterances, LABELS, tuple(findings), spans_s, errata, twins)


def _utterances(
    turns: Sequence[Turn], chosen: Mapping[tuple[Split, int, int], Path], params: Params, prefix: str
) -> tuple[Utterance, ...]:
    position: dict[tuple[Split, int], int] = {}
    utterances = []
    for turn in turns:
        index = position[turn.split, turn.dialogue] = position.get((turn.split, turn.dialogue), -1) + 1
        clip = None if is_too_long(turn, params) else chosen.get(turn.key)
        utterances.append(
            Utterance(
                id=utterance_id(prefix, turn),
                dialogue=dialogue_id(prefix, turn),
                index=index,
                speaker=person(clean_text(turn.row.cells["Speaker"], params)),
                text=clean_text(turn.row.cells["Utterance"], params),
                label=turn.label,
                split=turn.split,
                clip=None if clip is None else str(clip),
            )
        )
    return tuple(utterances)


def _errata(turns: Iterable[Turn], prefix: str, name: str) -> dict[str, str]:
    """Id -> documented fault; of MELD itself only, as other corpora in its shape have other clips under these
    numbers."""
    if name != "meld":
        return {}
    return {utterance_id(prefix, t): ERRATA[t.split, *t.clip] for t in turns if (t.split, *t.clip) in ERRATA}
