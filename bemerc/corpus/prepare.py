"""Read the corpora in use and write their manifest: the section ``prepare`` of params.yaml.

``corpora: [sample]`` -> ``[meld]`` switches; each corpus keeps its own settings whether it is in use or not. Several
corpora need one label set, into which their labels are mapped by name, or by the user's map.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus import labels as label_sets
from bemerc.corpus import pseudonyms
from bemerc.corpus.corpora import CORPORA
from bemerc.corpus.manifest import Manifest, Split, Utterance, read_manifest, write_manifest
from bemerc.corpus.readers import annotation_files, ch_sims, folder, iemocap, meld, recording, table
from bemerc.corpus.reading import Finding, Reading, nearest, relocated, renumbered, stop_at


@dataclass(frozen=True)
class Params:
    """The section ``prepare``.

    corpora        names of the corpora in use; each has its settings below under the same name
    labels         the label set: a name (meld, iemocap6, iemocap4, sentiment3), a list of labels, or null = that of the corpora
    label_map      corpus -> its label -> label of the set, or null to keep such turns as history without a label
    without_video  ids that keep their words and go without video
    leave_out      ids that are left out altogether; the turns of their dialogue close ranks
    words_alone    accept a corpus of which not one clip is found
    pseudonyms     write P001, P002, ... for speakers; pseudonyms.json beside the manifest has their names
    """

    corpora: tuple[str, ...] = ("sample",)
    labels: str | tuple[str, ...] | None = None
    label_map: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    without_video: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    words_alone: bool = False
    pseudonyms: bool = False
    sample: meld.Params = field(default_factory=lambda: meld.Params(folder="data/sample"))
    meld: meld.Params = field(default_factory=meld.Params)
    iemocap: iemocap.Params = field(default_factory=iemocap.Params)
    ch_sims: ch_sims.Params = field(default_factory=ch_sims.Params)
    table: table.Params = field(default_factory=table.Params)
    recording: recording.Params = field(default_factory=recording.Params)
    annotations: annotation_files.Params = field(default_factory=annotation_files.Params)
    folder: folder.Params = field(default_factory=folder.Params)

    def check(self) -> list[str]:
        """Values that types cannot refuse."""
        listed = f"The known corpora are {', '.join(CORPORA)}."
        faults = [
            f"corpora: '{name}' is no corpus{nearest(name, CORPORA)} {listed}"
            for name in self.corpora
            if name not in CORPORA
        ]
        faults += [
            f"label_map.{name}: there is no such corpus. {listed}" for name in self.label_map if name not in CORPORA
        ]
        if not self.corpora or len(set(self.corpora)) != len(self.corpora):
            faults.append(
                f"corpora: must name one corpus or several different ones, not {list(self.corpora)}. {listed}"
            )
        return faults


def run(
    params: Params, out: Path, transcripts: recording.Transcripts = recording.NONE
) -> tuple[Manifest, tuple[Finding, ...]]:
    """Read the corpora and write their manifest to ``out``; returns it, and the findings that need a person.

    transcripts  of recordings without subtitles

    Raises CorpusError, listing every fault, when a corpus cannot be read, label sets do not fit, or train lacks a
    label.
    """
    readings = [read(params, name, transcripts) for name in params.corpora]
    labels, utterances = joined(readings, params)
    stop_at(unlearnable(labels, utterances, params))
    if params.pseudonyms:
        utterances = pseudonyms.applied(utterances, out.parent / pseudonyms.NAME)
    write_manifest(out, relocated(utterances, out.parent), labels, params.corpora)
    findings = [finding for reading in readings for finding in reading.findings if finding.needs_you]
    return read_manifest(out), (*findings, *shared_clips(utterances))


def read(params: Params, name: str, transcripts: recording.Transcripts = recording.NONE) -> Reading:
    """Read one corpus, by its name in CORPORA; its labels are not mapped yet."""
    check_name(name)
    return READERS[name](params, transcripts)


def _sample(params: Params) -> Reading:
    if not Path(params.sample.folder).is_dir():
        raise CorpusError(
            "the sample is not there yet. Make it with 'bemerc sample'.", path=params.sample.folder, missing=True
        )
    return meld.read(params.sample, "sample")


READERS: Mapping[str, Callable[[Params, recording.Transcripts], Reading]] = {
    "sample": lambda params, _: _sample(params),
    "meld": lambda params, _: meld.read(params.meld),
    "iemocap": lambda params, _: iemocap.read(params.iemocap),
    "ch_sims": lambda params, _: ch_sims.read(params.ch_sims),
    "table": lambda params, _: table.read(params.table),
    "recording": lambda params, transcripts: recording.read_all(params.recording, transcripts=transcripts),
    "annotations": lambda params, _: annotation_files.read(params.annotations),
    "folder": lambda params, _: folder.read(Path(params.folder.folder), "folder", params.folder.speaker),
}


def check_name(name: str) -> None:
    """Raise CorpusError unless ``name`` is one of CORPORA."""
    if name not in CORPORA:
        raise CorpusError(
            f"'{printable(name, 60)}' is no corpus{nearest(name, CORPORA)} The known corpora are {', '.join(CORPORA)}."
        )


def source_path(params: Params, name: str) -> Path:
    """The folder of a corpus by its settings, or the table's file."""
    check_name(name)
    settings = getattr(params, name)
    return Path(settings.file if isinstance(settings, table.Params) else settings.folder)


def blocking_faults(reading: Reading, params: Params) -> list[str]:
    """Faults that stop ``prepare`` though the corpus could be read: no clip, unmapped labels, labels missing in train.

    Judged with the other corpora in use if this one is in use, else alone.
    """
    used = reading.name in params.corpora
    try:
        others = [read(params, name) for name in params.corpora if name != reading.name] if used else []
    except CorpusError:  # that corpus's own check says why
        return []
    mine = params if used else replace(params, corpora=(reading.name,), leave_out=(), without_video=())
    try:
        labels, utterances = joined([reading, *others], mine)
    except CorpusError as error:
        return str(error).splitlines()
    return unlearnable(labels, utterances, mine)


def joined(readings: Sequence[Reading], params: Params) -> tuple[tuple[str, ...], tuple[Utterance, ...]]:
    """The common label set, and all utterances with their labels mapped into it and the user's exclusions applied."""
    labels = _common(readings, params)
    faults, utterances = [], []
    for reading in readings:
        try:
            used = {label for u in reading.utterances for label in u.all_labels()}
            goals = label_sets.mapping(reading.name, reading.labels, labels, params.label_map.get(reading.name), used)
        except CorpusError as error:
            faults.append(str(error))
            continue
        utterances += [_mapped(u, goals) for u in reading.utterances]
        if not params.words_alone and not any(u.clip for u in reading.utterances):
            faults.append(_no_clips(reading))
    if not faults:
        faults = _unknown_ids(params, utterances)
    if faults:
        raise CorpusError("\n".join(faults))
    return labels, _without_excluded(utterances, params)


def _mapped(u: Utterance, goals: Mapping[str, str | None]) -> Utterance:
    """The utterance with every label in the common set; None where the map keeps none."""
    label, text, voice, face = (
        None if label is None else goals[label] for label in (u.label, u.label_text, u.label_voice, u.label_face)
    )
    return replace(u, label=label, label_text=text, label_voice=voice, label_face=face)


def unlearnable(labels: Sequence[str], utterances: Iterable[Utterance], params: Params) -> list[str]:
    """Labels that no utterance of train has, as faults that name the key to change.

    A corpus without train is prepared all the same: it may be there only to extract or evaluate.
    """
    mine = list(utterances)
    counts = Counter((u.split, u.label) for u in mine if u.label is not None)
    present = [label for label in labels if counts["train", label]]
    missing = [label for label in labels if not counts["train", label]]
    if not missing or not counts or not any(u.split == "train" for u in mine):
        return []
    listed = ", ".join(
        f"{label}{f' ({n} in dev and test)' if (n := counts['dev', label] + counts['test', label]) else ''}"
        for label in missing
    )
    if not present:
        return [
            "train has no labelled utterance, so nothing can be learned. Label some, or give labelled ones the split train."
        ]
    return [
        f"train has no utterance with the label {listed}, so it could never be learned. {_remedy(present, missing, counts, params)}"
    ]


def _remedy(
    present: Sequence[str], missing: Sequence[str], counts: Mapping[tuple[Split, str], int], params: Params
) -> str:
    """The key of params.yaml that reduces the label set, and what to write there."""
    alone = params.corpora[0] if len(params.corpora) == 1 else None
    elsewhere = [label for label in missing if counts.get(("dev", label)) or counts.get(("test", label))]
    own = alone in ("table", "recording", "annotations") and params.labels is None and not elsewhere
    sentence = f"Set {f'prepare.{alone}.labels' if own else 'prepare.labels'}: [{', '.join(present)}]"
    if not elsewhere:
        return f"{sentence}."
    entries = ", ".join(f"{label}: null" for label in elsewhere)
    return (
        f"{sentence} and prepare.label_map.{alone or 'CORPUS'}: {{{entries}}} (null keeps such turns without a label)."
    )


def shared_clips(utterances: Iterable[Utterance]) -> list[Finding]:
    """A finding for each file with utterances of several splits: train may then hold what is tested."""
    users: dict[str, dict[str, str]] = {}
    for u in utterances:
        if u.clip is not None:
            users.setdefault(os.path.realpath(u.clip), {}).setdefault(u.split, u.id)
    return [
        Finding(
            "shared",
            next(iter(by_split.values())),
            f"Its clip, {path}, lies in {' and '.join(f'{split} (as {id_})' for split, id_ in by_split.items())}: what is tested was "
            "trained on. Give the utterances of one file the same split.",
            needs_you=True,
        )
        for path, by_split in users.items()
        if len(by_split) > 1
    ]


def _common(readings: Sequence[Reading], params: Params) -> tuple[str, ...]:
    if params.labels is not None:
        return label_sets.label_set(params.labels)
    sets = {reading.labels: reading.name for reading in readings if reading.labels}
    if len(sets) > 1:
        listed = "; ".join(f"{name}: {', '.join(labels)}" for labels, name in sets.items())
        raise CorpusError(
            f"The corpora have different label sets ({listed}). Set prepare.labels to the one to train on, "
            "and prepare.label_map where a name differs."
        )
    return next(iter(sets), ())


def _no_clips(reading: Reading) -> str:
    reasons = [finding.reason for finding in reading.findings if finding.kind == "missing" and finding.needs_you][:3]
    return " ".join(
        [
            f"{reading.name}: not one of its {len(reading.utterances)} utterances has a clip.",
            *reasons,
            "To go on with words alone set prepare.words_alone: true.",
        ]
    )


def _unknown_ids(params: Params, utterances: Iterable[Utterance]) -> list[str]:
    existing = {u.id for u in utterances}
    return [
        f"prepare.{key}: no utterance has the id '{id_}'{nearest(id_, existing)}"
        for key, ids in (("without_video", params.without_video), ("leave_out", params.leave_out))
        for id_ in ids
        if id_ not in existing
    ]


def _without_excluded(utterances: Iterable[Utterance], params: Params) -> tuple[Utterance, ...]:
    left_out, without_video = set(params.leave_out), set(params.without_video)
    return renumbered(
        replace(u, clip=None, start_s=None, end_s=None, crop=None) if u.id in without_video else u
        for u in utterances
        if u.id not in left_out
    )
