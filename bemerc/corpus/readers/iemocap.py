"""Read IEMOCAP: ten actors in five sessions of two; an utterance is a span and one half of the video of its dialogue.

No clips are cut: one decode of a dialogue's video serves all its utterances. Ids hold no split, so testing on another
session extracts nothing again. The corpus is licensed, and nothing of it is here; its layout and counts are from its
public description (Busso et al. 2008) and repositories that read it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus.crops import CROPS
from bemerc.corpus.encodings import Decoded
from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import Split, Utterance
from bemerc.corpus.reading import SOUND, VIDEO, Finding, Reading, renumbered, stop_at
from bemerc.corpus.text import is_broken
from bemerc.corpus.text import read as read_text

SESSIONS = (1, 2, 3, 4, 5)
SIX = {"hap": "happy", "sad": "sad", "neu": "neutral", "ang": "angry", "exc": "excited", "fru": "frustrated"}
FOUR = {"hap": "happy", "exc": "happy", "sad": "sad", "neu": "neutral", "ang": "angry"}
# Codes of utterances that belong to neither set: fear, surprise, disgust, other, and no agreement.
OTHER = ("fea", "sur", "dis", "oth", "xxx")
# Utterances per code in the whole corpus; the four classes sum to the 5,531 of the literature, the six to 7,380.
WHOLE = {"hap": 595, "exc": 1041, "sad": 1084, "neu": 1708, "ang": 1103, "fru": 1849}

_EVALUATED = re.compile(r"\[\s*([\d.]{1,12})\s*-\s*([\d.]{1,12})\s*\]\s+(\S+)\s+(\w+)\s+\[")
_SPOKEN = re.compile(r"(\S+)\s+\[\s*([\d.]{1,12})\s*-\s*([\d.]{1,12})\s*\]\s*:?\s?(.*)")
_NAME = re.compile(r"Ses0(\d)([FM])_(?:impro|script)\w*_([FM])\w{3}")


@dataclass(frozen=True)
class Params:
    """How to read IEMOCAP.

    folder        with Session1 to Session5 in it
    classes       six, or four with excited counted as happy
    test_session  the session to test on; all others are train and dev
    dev_share     share of the remaining dialogues that become dev, drawn by dialogue
    seed          of that draw; a dialogue's place depends on its name and the seed alone
    context       labelled: only utterances of the classes; all: the others too, as history without a label
    whole         stop where the four classes of all five sessions are not 5,531 utterances
    """

    folder: str = "data/iemocap"
    classes: Literal["six", "four"] = "six"
    test_session: int = 5
    dev_share: float = 0.1
    seed: int = 1
    context: Literal["labelled", "all"] = "all"
    whole: bool = True

    def check(self) -> list[str]:
        """Values that types cannot refuse."""
        faults = []
        if self.test_session not in SESSIONS:
            faults.append(f"test_session: must be one of {', '.join(map(str, SESSIONS))}, not {self.test_session}.")
        if not 0 < self.dev_share < 1:
            faults.append(f"dev_share: must lie between 0 and 1, not {self.dev_share}.")
        return faults


@dataclass(frozen=True)
class _Turn:
    name: str
    dialogue: str
    session: int
    start_s: float
    end_s: float
    code: str | None
    text: str | None = None


def read(params: Params, name: str = "iemocap") -> Reading:
    """Read the sessions that are there. Ids are ``name/Ses01F_impro01_F000``, dialogues ``name/Ses01F_impro01``.

    Lines that do not parse are left out, with a finding. Raises CorpusError, listing every fault: no session, an
    utterance with two evaluations, unknown emotion codes, and, with ``whole``, other counts than the published ones.
    """
    root = Path(params.folder)
    sessions = [n for n in SESSIONS if (root / f"Session{n}" / "dialog" / "EmoEvaluation").is_dir()]
    if not sessions:
        raise CorpusError(
            f"there is no Session1/dialog/EmoEvaluation to Session5 in it. Set prepare.{name}.folder to the folder above them.",
            path=root,
            missing=True,
        )
    findings: list[Finding] = []
    faults: list[str] = []
    if params.test_session not in sessions:
        faults.append(
            f"{root}: session {params.test_session}, the test session, is not there; these are: {', '.join(map(str, sessions))}."
        )
    turns = [turn for n in sessions for turn in _session(root / f"Session{n}", n, name, findings, faults)]
    stop_at(faults, findings=findings)
    findings += _counts(turns, sessions, params, name)
    codes = SIX if params.classes == "six" else FOUR
    kept = [turn for turn in turns if params.context == "all" or turn.code in codes]
    splits = _splits({turn.dialogue: turn.session for turn in turns}, params)
    clips = _Clips(root)
    utterances = [_utterance(turn, name, codes, splits, clips) for turn in kept]
    findings += _utterance_findings(kept, utterances, clips)
    spans_s = {u.id: round(turn.end_s - turn.start_s, 6) for turn, u in zip(kept, utterances, strict=True)}
    return Reading(
        name,
        renumbered(utterances),
        LABEL_SETS[f"iemocap{4 if params.classes == 'four' else 6}"],
        tuple(findings),
        spans_s,
    )


# ---- labels and words


def _session(folder: Path, session: int, name: str, findings: list[Finding], faults: list[str]) -> list[_Turn]:
    """A session's turns by dialogue and start: those with an evaluation, and those that are only transcribed."""
    evaluated: dict[str, _Turn] = {}
    for path in _texts(folder / "dialog" / "EmoEvaluation"):
        _evaluations(path, session, evaluated, findings, faults)
    spoken: dict[str, _Turn] = {}
    for path in _texts(folder / "dialog" / "transcriptions"):
        _transcription(path, session, spoken, name, findings)
    turns = {key: replace(turn, text=spoken[key].text if key in spoken else None) for key, turn in evaluated.items()}
    return sorted((spoken | turns).values(), key=lambda turn: (turn.dialogue, turn.start_s, turn.name))


def _texts(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.txt") if not p.name.startswith(".")) if folder.is_dir() else []


def _evaluations(path: Path, session: int, turns: dict[str, _Turn], findings: list[Finding], faults: list[str]) -> None:
    """Add the turns of an evaluation file to ``turns``."""
    decoded = read_text(path)
    findings += _encoding(path, decoded)
    for number, line in enumerate(decoded.text.splitlines(), 1):
        match = _EVALUATED.match(line)
        if match is None:
            if line.startswith("[") and number > 1:
                findings.append(
                    Finding("line", f"{path.name}, line {number}", "It does not parse.", "leaves out", needs_you=True)
                )
            continue
        start, end, key, code = match.groups()
        if code not in SIX and code not in OTHER:
            listed = ", ".join([*SIX, *OTHER])
            faults.append(
                f"{path}, line {number}, {printable(key, 60)}: the emotion code '{printable(code, 40)}' is unknown; the known ones are {listed}."
            )
        if key in turns:
            faults.append(f"{path}, line {number}: {printable(key, 60)} is evaluated twice; keep one of the two.")
        turn = _turn(key, session, start, end, code)
        if turn is None:
            reason = f"'{printable(key, 60)}' is not the name of an utterance, or its times are no numbers."
            findings.append(Finding("line", f"{path.name}, line {number}", reason, "leaves out", needs_you=True))
        else:
            turns[key] = turn


def _transcription(path: Path, session: int, turns: dict[str, _Turn], name: str, findings: list[Finding]) -> None:
    """Add the turns of a transcription file to ``turns``."""
    decoded = read_text(path)
    findings += _encoding(path, decoded)
    for number, line in enumerate(decoded.text.splitlines(), 1):
        if not line.strip():
            continue
        match = _SPOKEN.fullmatch(line.strip())
        turn = _turn(match[1], session, match[2], match[3], None) if match else None
        if match is None or turn is None:
            findings.append(
                Finding("line", f"{path.name}, line {number}", "It is no transcribed utterance.", "leaves out")
            )
        elif match[1] in turns:
            findings.append(
                Finding(
                    "duplicate", f"{name}/{match[1]}", f"{path.name}, line {number} transcribes it again.", "leaves out"
                )
            )
        else:
            turns[match[1]] = replace(turn, text=match[4].strip())


def _turn(key: str, session: int, start: str, end: str, code: str | None) -> _Turn | None:
    match = _NAME.fullmatch(key)
    try:
        start_s, end_s = float(start), float(end)
    except ValueError:
        return None
    if match is None or int(match[1]) != session:
        return None
    return _Turn(key, key.rpartition("_")[0], session, start_s, end_s, code)


def _encoding(path: Path, decoded: Decoded) -> list[Finding]:
    reason = decoded.describe_odd_lines(listed=1)
    return [Finding("encoding", path.name, reason)] if reason else []


# ---- splits


def _splits(sessions: Mapping[str, int], params: Params) -> dict[str, Split]:
    """Dialogue -> split: the test session; of the others, ``dev_share`` with the smallest hashes is dev, at least
    one."""
    rest = sorted(
        (d for d, s in sessions.items() if s != params.test_session), key=lambda d: (_draw(d, params.seed), d)
    )
    dev = set(rest[: max(min(1, len(rest) - 1), round(params.dev_share * len(rest)))])
    return {d: "test" if s == params.test_session else "dev" if d in dev else "train" for d, s in sessions.items()}


def _draw(dialogue: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {dialogue}".encode()).hexdigest()


# ---- utterances


class _Clips:
    """Finds the video of a dialogue, or the sound of an utterance."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._videos: dict[str, Path] = {}
        for session in SESSIONS:
            for folder in ("dialog/avi", "dialog/avi/DivX"):
                directory = root / f"Session{session}" / folder
                files = sorted(directory.iterdir()) if directory.is_dir() else []
                self._videos |= {p.stem: p for p in files if p.suffix.lower() in VIDEO and not p.name.startswith(".")}

    def video(self, turn: _Turn) -> Path | None:
        return self._videos.get(turn.dialogue)

    def sound(self, turn: _Turn) -> Path | None:
        directory = self.root / f"Session{turn.session}" / "sentences" / "wav" / turn.dialogue
        return next((p for s in SOUND if (p := directory / f"{turn.name}{s}").is_file()), None)

    def without_dialogue(self, dialogues: Iterable[str]) -> list[Path]:
        names = set(dialogues)
        return [path for stem, path in sorted(self._videos.items()) if stem not in names]


def half(name: str) -> Literal["left", "right"]:
    """The half of the frame in which an utterance's speaker sits: the actor with the markers, name[5], is on the
    left."""
    return "left" if name[5] == name[-4] else "right"


def _utterance(
    turn: _Turn, name: str, codes: Mapping[str, str], splits: Mapping[str, Split], clips: _Clips
) -> Utterance:
    # A turn whose end is not after its start keeps its words; ``_utterance_findings`` reports it.
    measurable = turn.end_s > turn.start_s
    video = clips.video(turn) if measurable else None
    sound = clips.sound(turn) if measurable and video is None else None
    return Utterance(
        id=f"{name}/{turn.name}",
        dialogue=f"{name}/{turn.dialogue}",
        index=0,
        speaker=f"Ses0{turn.session}_{turn.name[-4]}",
        text=turn.text or "",
        label=codes.get(turn.code or ""),
        split=splits[turn.dialogue],
        clip=str(video or sound) if video or sound else None,
        start_s=turn.start_s if video else None,
        end_s=turn.end_s if video else None,
        crop=CROPS[half(turn.name)] if video else None,
    )


# ---- findings


def _counts(turns: Sequence[_Turn], sessions: Sequence[int], params: Params, name: str) -> list[Finding]:
    """Compare with the published counts. With ``whole``, a difference in the four classes of all sessions is an
    error."""
    codes = SIX if params.classes == "six" else FOUR
    counts, missing = Counter(turn.code for turn in turns), [str(n) for n in SESSIONS if n not in sessions]
    have, want = sum(counts[code] for code in codes), sum(WHOLE[code] for code in codes)
    if have == want:
        return []
    differing = ", ".join(
        f"{code} {counts[code]} instead of {WHOLE[code]}" for code in codes if counts[code] != WHOLE[code]
    )
    reason = f"The {params.classes} classes are {have:,} utterances, the whole corpus has {want:,}: {differing}."
    if missing:
        return [Finding("count", name, f"{reason} Not there: session {', '.join(missing)}.")]
    if params.whole and params.classes == "four":
        raise CorpusError(
            f"{reason} Files are missing or were changed; compare with a fresh copy, "
            f"or set prepare.{name}.whole: false to go on with what is there.",
            path=params.folder,
        )
    return [Finding("count", name, reason, needs_you=True)]


def _utterance_findings(turns: Sequence[_Turn], utterances: Sequence[Utterance], clips: _Clips) -> list[Finding]:
    findings = []
    for turn, u in zip(turns, utterances, strict=True):
        if turn.text is None:
            findings.append(Finding("words", u.id, "It is evaluated, but no line transcribes it."))
        elif not turn.text:
            findings.append(Finding("empty", u.id, "The utterance has no words."))
        elif is_broken(turn.text):
            findings.append(Finding("mojibake", u.id, "The words hold characters of a wrong encoding.", needs_you=True))
        if turn.end_s <= turn.start_s:
            findings.append(
                Finding(
                    "times",
                    u.id,
                    f"It ends at {turn.end_s:g} s and starts at {turn.start_s:g} s.",
                    "keeps without video",
                    True,
                )
            )
        elif u.clip is None:
            findings.append(
                Finding(
                    "missing", u.id, "There is neither video nor sound of it.", "keeps without video", needs_you=True
                )
            )
    return (
        findings
        + _dialogues_without_video(utterances)
        + [
            Finding("extra", path.as_posix(), "No dialogue has this name.", "leaves out")
            for path in clips.without_dialogue(turn.dialogue for turn in turns)
        ]
    )


def _dialogues_without_video(utterances: Sequence[Utterance]) -> list[Finding]:
    """A finding for each dialogue without a video, of which only the sound is used."""
    sound_only = Counter(u.dialogue for u in utterances if u.clip is not None and u.crop is None)
    return [
        Finding(
            "missing",
            d,
            f"There is no video of it; {n} utterances have their sound.",
            "keeps without video",
            needs_you=True,
        )
        for d, n in sound_only.items()
    ]
