"""What an extraction run did, counted by utterance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a run did, and how it stands with every utterance: the four mappings share no id, and utterances in none of
    them are complete.

    paths              modality -> frame cache
    measured           utterances that this run measured, in full or in part
    cached             those measured before, by another process meanwhile, or as the same segment of the same clip
    with_notes         id -> what is missing or odd, for utterances that were measured with a note
    absent             id -> reason, where a clip lacks the track or the corpus the clip: no damage
    failures           id -> reason, where the clip is to blame; not tried again, but by ``retry_failed`` or another
                       decoder
    retryable          id -> reason, where the machine is to blame or a worker died over it: tried again next time
    no_face            utterances without a face in any frame, of those that were measured
    uncertain          utterances with several faces whose target face is uncertain
    only               the modality that was measured, where the others were cached for every clip
    dropped_landmarks  stored results of earlier runs from which landmarks were removed
    """

    paths: Mapping[str, Path]
    utterances: int
    measured: int
    cached: int
    with_notes: Mapping[str, str]
    absent: Mapping[str, str]
    failures: Mapping[str, str]
    retryable: Mapping[str, str]
    seconds: float
    no_face: int = 0
    uncertain: int = 0
    only: str = ""
    dropped_landmarks: int = 0

    @property
    def complete(self) -> int:
        """Utterances that were measured in full, now or before."""
        return self.utterances - sum(map(len, (self.with_notes, self.absent, self.failures, self.retryable)))

    def sentence(self) -> str:
        """For the end of a command: what was done, time, where the caches are; and counts that add up."""
        only = f" ({self.only} only)" if self.only and self.measured else ""
        parts = [f"{self.measured} of {self.utterances} utterances were measured{only} in {self.seconds:.1f} s"]
        if self.cached:
            parts.append("all cached" if self.cached == self.utterances else f"{self.cached} cached")
        if self.dropped_landmarks:
            parts.append(f"landmarks removed from {self.dropped_landmarks} stored results")
        return f"{'; '.join(parts)}: {', '.join(map(str, self.paths.values()))}.\n{self._counts()}"

    def _counts(self) -> str:
        counts = [(self.complete, "complete"), (len(self.with_notes), "with a note")]
        counts += [(len(self.absent), "with nothing to measure"), (len(self.failures), "failed")]
        counts += [(len(self.retryable), "to retry")]
        listed = ", ".join(f"{count} {what}" for count, what in counts if count) or "0 complete"
        text = f"Of {self.utterances} {'/'.join(self.paths)}: {listed}."
        if self.no_face:
            text += f" No face was detected in {self.no_face}."
        if self.uncertain:
            text += f" The target face is uncertain in {self.uncertain}."
        if self.retryable:
            text += " The same command tries those again."
        return text

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"paths": {kind: str(path) for kind, path in self.paths.items()}, "complete": self.complete}
