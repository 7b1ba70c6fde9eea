"""Ended utterances -> measured, described and labelled ones, each as the dialogue stands by then.

What was measured of an utterance is written into frame caches of that utterance alone, and read from there by the code
that makes tokens and descriptions of whole corpora. Of the dialogue before it only the pooled frames are kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bemerc.behavior.describe import acts, rules
from bemerc.behavior.describe.description import Description
from bemerc.behavior.describe.references import GENERAL, References
from bemerc.behavior.describe.run import Caches, read_clip
from bemerc.cache import FrameCache, Rows, open_cache, write_cache
from bemerc.core.errors import MachineError
from bemerc.corpus.manifest import MODALITIES, Modality, Utterance
from bemerc.extraction.extractor_pool import ExtractorPool, checked
from bemerc.extraction.failures import Failure
from bemerc.extraction.jobs import ExtractorSpec
from bemerc.extraction.reporter import RequestOutcome
from bemerc.extraction.store import Result
from bemerc.live.session import Ended

NO_SOUND = "The clip has no sound track."


@dataclass(frozen=True)
class Turn:
    """An utterance that was measured.

    utterance    its id, words, speaker and times
    outcomes     modality -> result, or why there is none
    description  what face, body and voice did, by rules
    """

    utterance: Utterance
    outcomes: Mapping[str, RequestOutcome]
    description: Description


class Turns:
    """The utterances of one conversation in order of their ends; ``add`` measures the next one.

    folder  for what is made on the way, of the latest utterance alone
    """

    def __init__(
        self,
        name: str,
        video: Sequence[ExtractorSpec],
        audio: ExtractorSpec,
        folder: Path,
        describing: rules.Params,
        references: References | None = None,
    ) -> None:
        self.specs: dict[str, ExtractorSpec] = {spec.modality: spec for spec in (*video, audio)}
        self._name, self._folder, self._describing = name, folder, describing
        self._references = references or GENERAL
        self._audio = ExtractorPool((audio,))
        self._levels: dict[str, list[acts.Levels]] = {}

    def add(self, ended: Ended, read: Callable[[Utterance, Caches], None] = lambda utterance, caches: None) -> Turn:
        """Measure what has ended; ``read``: reads its caches, which are gone afterwards."""
        cut = ended.cut
        utterance = Utterance(
            id=f"{self._name}/{cut.number:04d}",
            dialogue=self._name,
            index=cut.number,
            speaker=cut.speaker,
            text=cut.text,
            label=None,
            split="test",
            clip=None,
            start_s=cut.start_s,
            end_s=cut.end_s,
        )
        outcomes = self._outcomes(ended)
        with self._caches(utterance.id, outcomes) as caches:
            clip, reasons = read_clip(caches, utterance.id)
            earlier = self._levels.setdefault(utterance.speaker, []) if utterance.speaker else []
            description = rules.describe(clip, self._references, earlier, self._describing, reasons)
            earlier.append(acts.levels(clip))
            read(utterance, caches)
        return Turn(utterance, outcomes, description)

    def _outcomes(self, ended: Ended) -> dict[str, RequestOutcome]:
        """What was measured, modality by modality. MachineError where the machine failed."""
        outcomes = ended.measured.results(ended.video_s, "")
        ended.measured.free_extractors()
        outcomes["audio"] = Failure(NO_SOUND, absent=True)
        if ended.waveform is not None:
            extractor = self._audio.take("audio")
            features = checked(extractor.clip(ended.waveform), self.specs["audio"])
            outcomes["audio"] = Result(features, ended.duration_s)
            self._audio.put_back("audio", extractor)
        for outcome in outcomes.values():
            if isinstance(outcome, MachineError):
                raise outcome
        return outcomes

    @contextlib.contextmanager
    def _caches(self, id_: str, outcomes: Mapping[str, RequestOutcome]) -> Iterator[Caches]:
        """Frame caches of this utterance alone, open."""
        with contextlib.ExitStack() as stack:
            opened: dict[Modality, FrameCache] = {}
            for modality in MODALITIES:
                path = self._folder / f"{modality}.h5"
                write_outcomes(path, self.specs[modality], {id_: outcomes[modality]})
                opened[modality] = stack.enter_context(open_cache(path, modality))
            yield opened


def write_outcomes(path: Path, spec: ExtractorSpec, outcomes: Mapping[str, RequestOutcome]) -> None:
    """Write a frame cache of the outcomes of one modality, id -> outcome."""
    results = {id_: one for id_, one in sorted(outcomes.items()) if isinstance(one, Result)}
    rows = Rows(
        [(id_, one.features, one.duration_s, one.landmarks) for id_, one in results.items()],
        {id_: one.reason for id_, one in outcomes.items() if isinstance(one, Failure)},
        choices={id_: one.choice for id_, one in results.items() if one.choice is not None},
    )
    write_cache(path, spec.head, rows)
