"""The corpora in use -> data/manifest.jsonl, one utterance per line.

in: the folders of the corpora that ``prepare.corpora`` names.  out: data/manifest.jsonl; where recordings are to be
transcribed, their transcripts in data/transcripts, which like the store is kept and no output of DVC's
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bemerc.corpus import prepare
from bemerc.corpus.manifest import Manifest
from bemerc.corpus.readers import recording
from bemerc.corpus.reading import Finding
from bemerc.pipeline.project import Project


@dataclass(frozen=True)
class Prepared:
    """A manifest as it was written.

    findings         what is odd about the corpora and needs a person
    not_transcribed  recordings that could not be transcribed, and why
    """

    manifest: Manifest
    findings: tuple[Finding, ...]
    not_transcribed: Mapping[Path, str]


def run(project: Project) -> Prepared:
    """Read the corpora by the section ``prepare`` and write their manifest. Raises CorpusError, listing every fault."""
    params = project.load("prepare", prepare.Params)
    transcripts: recording.Transcripts = recording.NONE
    not_transcribed: Mapping[Path, str] = {}
    if "recording" in params.corpora and params.recording.asr is not None:
        from bemerc.corpus import transcribe

        videos = recording.without_cues(Path(params.recording.folder), recording.SUFFIXES)
        asr, track = params.recording.asr, params.recording.track
        answer = transcribe.run(videos, asr, project.data / "transcripts", track=track)
        transcripts, not_transcribed = answer.files, answer.without
    manifest, findings = prepare.run(params, project.manifest_file, transcripts)
    return Prepared(manifest, findings, not_transcribed)
