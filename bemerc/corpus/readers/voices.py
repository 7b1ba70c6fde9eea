"""Who speaks in an annotation file: its tiers by speaker and role (words, label, record), and what overlaps in time."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from bemerc.corpus.manifest import NOBODY
from bemerc.corpus.readers.tiers import TIERS, TURN, WORDS, AnnotationFile, Interval, Tier, speaker_of
from bemerc.corpus.reading import person

SPEAKER = "{speaker}"
_MOST_TRIED = 1000  # intervals of one tier that may overlap one span


def patterns_of(names: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    """Role -> what the names of its tiers match; ``names``: role -> name with {speaker} in it, where it is another."""
    return {
        role: re.compile("(?P<speaker>.*)".join(map(re.escape, name.split(SPEAKER))), re.DOTALL)
        for role, name in {**TIERS, **names}.items()
    }


class Track:
    """The intervals of a tier in the order of time, to look up what overlaps a span."""

    def __init__(self, tier: Tier) -> None:
        self.name, self.speaker = tier.name, tier.speaker
        self.intervals = sorted(tier.intervals, key=lambda one: (one.onset_ms, one.offset_ms))
        self._onsets = [one.onset_ms for one in self.intervals]
        self._reach = list(accumulate((one.offset_ms for one in self.intervals), max))
        self.overlaps = sum(one.onset_ms < end for one, end in zip(self.intervals[1:], self._reach, strict=False))

    def at(self, span: Interval) -> Interval | None:
        """The interval that lasts longest together with ``span``; None where none does."""
        best, longest = None, 0
        last = bisect_left(self._onsets, span.offset_ms)
        for number in range(last - 1, max(-1, last - 1 - _MOST_TRIED), -1):
            if self._reach[number] <= span.onset_ms:
                break
            if (overlap := self.intervals[number].overlap_ms(span)) >= max(longest, 1):
                best, longest = self.intervals[number], overlap
        return best


@dataclass(frozen=True)
class Voice:
    """The tiers of one speaker, by role; those that name no speaker belong to each."""

    speaker: str
    tracks: Mapping[str, Sequence[Track]]

    def at(self, role: str, span: Interval) -> Interval | None:
        """The interval of a role that lasts longest together with ``span``; None where none does."""
        longest = (track.at(span) for track in self.tracks.get(role, ()))
        return max((one for one in longest if one is not None), key=span.overlap_ms, default=None)

    def spans(self) -> list[Interval]:
        """Its utterances: intervals with words, and those of records that no words overlap, whose words are empty."""
        words = [one for track in self.tracks.get(WORDS, ()) for one in track.intervals]
        records = [one for track in self.tracks.get(TURN, ()) for one in track.intervals]
        return words + [replace(one, value="") for one in records if self.at(WORDS, one) is None]


def voices_of(
    content: AnnotationFile, patterns: Mapping[str, re.Pattern[str]], speakers: Mapping[str, str]
) -> list[Voice]:
    """One voice per tier of words, or where there is none per tier of records: their texts may be empty in Praat."""
    matches: dict[str, dict[str, list[Track]]] = {}
    shared: dict[str, list[Track]] = {}
    for tier in content.tiers:
        for role, pattern in patterns.items():
            if match := pattern.fullmatch(tier.name):
                key = match.groupdict().get("speaker")
                by_role = shared if key is None and role != WORDS else matches.setdefault(key or "", {})
                by_role.setdefault(role, []).append(Track(tier))
    renamed = _reunite(matches)
    voices = []
    for key, tracks in matches.items():
        if WORDS not in tracks and TURN not in tracks:
            continue
        named = [track.speaker for role in (WORDS, TURN) for track in tracks.get(role, ())]
        participant = None if key in renamed else next((speaker for speaker in named if speaker is not None), None)
        written = speaker_of(key, matches) if participant is None else participant
        voices.append(Voice(person(speakers.get(written, written)) or NOBODY, {**shared, **tracks}))
    return voices


def _reunite(matches: dict[str, dict[str, list[Track]]]) -> set[str]:
    """Give a tier of words that was renamed alone the records and labels that it had, which are below a name without
    words now; returns the new names. Else each of its utterances would be two."""
    renamed: set[str] = set()
    for key in [key for key, tracks in matches.items() if TURN in tracks and WORDS not in tracks]:
        records = [one for track in matches[key][TURN] for one in track.intervals]
        free = {k: tracks[WORDS] for k, tracks in matches.items() if WORDS in tracks and TURN not in tracks}
        together = {k: sum(_meet(words, record) for record in records) for k, words in free.items()}
        new = max(together, key=lambda k: together[k], default=None)
        if new is not None and 0 < len(records) <= 2 * together[new]:
            for role, tracks in matches.pop(key).items():
                matches[new].setdefault(role, tracks)
            renamed.add(new)
    return renamed


def _meet(words: Sequence[Track], record: Interval) -> bool:
    """Whether something is said for half of a record's time."""
    overlaps = (one.overlap_ms(record) for track in words if (one := track.at(record)) is not None)
    return 2 * max(overlaps, default=0) > record.offset_ms - record.onset_ms
