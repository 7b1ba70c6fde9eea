"""An emotion for every utterance as it ends, by a trained model, with the dialogue so far before it.

Tokens are those that ``bemerc predict`` makes: pooled and calibrated by the same functions on the utterances so far, which
are all that a causal calibration looks at. The model keeps what it computed of the dialogue (predict/kept_history.py).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe.description import Description
from bemerc.behavior.describe.run import Caches
from bemerc.behavior.tokens import file
from bemerc.behavior.tokens.calibration import Calibration, calibrate, check_fit
from bemerc.cache import FrameCache, Kind
from bemerc.core.config import from_mapping
from bemerc.core.errors import BemercError
from bemerc.corpus.manifest import Manifest, Modality, Utterance
from bemerc.language.inputs import variants
from bemerc.language.predict.records import Prediction, Unlabelled
from bemerc.language.predict.score_labels import MercModel, Params
from bemerc.live.turns import Turn


class Labeller:
    """Reads the caches of every utterance in turn, then labels it.

    Raises BemercError where the model reads what nobody measures live: a teacher's or an align model's descriptions, a
    speech encoder.
    """

    def __init__(self, model: MercModel, params: Params, folder: Path) -> None:
        self._model, self._scoring, self._tokens = model, params, folder / "tokens.h5"
        metadata = model.metadata
        self._inputs = variants.of_model(metadata.params, metadata.modalities)
        if others := [source for source in self._inputs.sources if source != "rules"]:
            raise BemercError(
                f"this variant reads descriptions by {others[0]}, which are not made live. Name a model that "
                "reads tokens, or descriptions by rules.",
                path=model.folder,
            )
        self._params = from_mapping(
            metadata.tokens.get("params", {}), file.Params, f"{model.folder}: metadata.json: tokens.params"
        )
        self._calibration = Calibration.from_json(metadata.tokens.get("calibration", ""))
        self._utterances: list[Utterance] = []
        self._pooled: dict[Modality, list[NDArray[np.float32]]] = {m: [] for m in self._calibration.modalities}
        self._descriptions: dict[str, Description] = {}
        model.keep_history()

    @property
    def reads(self) -> tuple[str, ...]:
        """What it reads of an utterance beside its words. Descriptions are of all."""
        return tuple(self._pooled) if self._inputs.described else self._model.metadata.modalities

    def read(self, utterance: Utterance, caches: Caches) -> None:
        """Pool the frames of the next utterance. CacheError where they are not what the model learned from."""
        kinds: dict[Kind, FrameCache] = {kind: cache for kind, cache in caches.items()}
        if not self._utterances:
            check_fit(kinds, self._calibration)
        pooled = file.pool(_manifest([utterance]), kinds, self._params)
        for modality, rows in self._pooled.items():
            rows.append(pooled[modality])
        self._utterances.append(utterance)

    def label(self, turn: Turn) -> Prediction | Unlabelled:
        """The label of the utterance that was read last, or why there is none."""
        utterance = self._utterances[-1] = turn.utterance
        self._descriptions[utterance.id] = turn.description
        about: dict[str, Any] = {"speaker": utterance.speaker or None, "text": utterance.text or None}
        about |= {"start_s": utterance.start_s, "end_s": utterance.end_s}
        with self._write_tokens() as tokens:
            unmeasured = tuple(m for m in self.reads if not tokens[utterance.id][m].mask.any())  # type: ignore[index]
            if not utterance.text.strip() and unmeasured == self.reads:
                nothing = f", and nothing was measured of {', '.join(unmeasured)}" if unmeasured else ""
                return Unlabelled(utterance.id, f"There are no words{nothing}.", **about)
            described = dict.fromkeys(self._inputs.sources, self._descriptions)
            so_far = _manifest(self._utterances)
            (scored,) = self._model.score(so_far, tokens, ("test",), self._scoring, described, {utterance.id})
        return replace(scored, **about, unmeasured=unmeasured or None, corpora=self._model.metadata.corpora)

    def _write_tokens(self) -> file.TokenFile:
        so_far = _manifest(self._utterances)
        tokens = {}
        for modality, rows in self._pooled.items():
            statistics = self._calibration.modalities[modality]
            mode, prior = self._params.calibration, self._params.prior
            tokens[modality] = calibrate(so_far, np.concatenate(rows), statistics, mode, prior)
        file.write_tokens(self._tokens, [u.id for u in self._utterances], tokens, self._calibration, self._params)
        return file.open_tokens(self._tokens)


def _manifest(utterances: list[Utterance]) -> Manifest:
    return Manifest(tuple(utterances), (), (), Path())
