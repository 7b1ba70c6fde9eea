"""The corpora in use -> data/manifest.jsonl, one utterance per line.

in: the folders of the corpora that ``prepare.corpora`` names.  out: data/manifest.jsonl; where recordings are to be
transcribed, their transcripts in data/transcripts, which like the store is kept and no output of DVC's
"""

from pathlib import Path

from bemerc.core.config import load
from bemerc.core.terminal import printable
from bemerc.corpus import prepare
from bemerc.corpus.manifest import SPLITS
from bemerc.corpus.readers import recording
from pipeline import DATA, MANIFEST, PARAMS, stage

LISTED = 10


def transcripts(params: recording.Params) -> recording.Transcripts:
    """Of the recordings without cues, where a speech recogniser is named."""
    if params.asr is None:
        return recording.NONE
    from bemerc.corpus import transcribe

    videos = recording.without_cues(Path(params.folder), recording.SUFFIXES)
    found = transcribe.run(videos, params.asr, DATA / "transcripts", track=params.track)
    for video, reason in found.without.items():
        print(f"{video}: {reason}")
    return found.files


@stage
def main() -> None:
    params = load(PARAMS, "prepare", prepare.Params)
    heard = transcripts(params.recording) if "recording" in params.corpora else recording.NONE
    manifest, findings = prepare.run(params, MANIFEST, heard)
    for finding in findings[:LISTED]:
        print(printable(f"{finding.id}: {finding.reason} (bemerc {finding.action})", 1000))
    if len(findings) > LISTED:
        print(f"and {len(findings) - LISTED} more findings that need you: see 'bemerc corpus check'")
    counts = ", ".join(f"{len(manifest.by_split(split))} {split}" for split in SPLITS)
    print(f"{len(manifest.utterances)} utterances in {len(manifest.dialogues())} dialogues: {counts}")


if __name__ == "__main__":
    main()
