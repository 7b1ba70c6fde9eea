"""A probability for every label of every utterance, by scoring the labels; nothing is generated and nothing parsed.

Peers let the model write and search its answer for a label. Here every label's own tokens are scored exactly (sum of token
log-probabilities) and the sums become probabilities. The mark that ends an answer is scored where a label begins like
another one (sad, sad and angry); elsewhere it parts nothing, and a label of one token costs no position. The prompt is computed once
for all labels, and a dialogue's history once for all its utterances: labels are leaves of the tree (packing.py). The
adapter is merged first, in memory.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bemerc.behavior.tokens.calibration import Calibration
from bemerc.core.config import from_mapping
from bemerc.core.errors import ModelError
from bemerc.core.progress import bar
from bemerc.core.terminal import printable
from bemerc.corpus import provenance
from bemerc.corpus.conflict import ConflictItem
from bemerc.corpus.manifest import SPLITS, Dialogue, Manifest, Modality, Split
from bemerc.language.inputs import batching, chat_template, encoding, packing, recombined, variants
from bemerc.language.inputs import prompts as prompt
from bemerc.language.model import attention_rows, behavior_model, model_folder
from bemerc.language.model.devices import device_faults, enough_memory
from bemerc.language.model.metadata import must_name_emotions
from bemerc.language.predict import modality_gate, reallocate, reallocation_file, temperature
from bemerc.language.predict.fitting import Asked, fitting
from bemerc.language.predict.kept_history import KeptHistory
from bemerc.language.predict.modes import Mode
from bemerc.language.predict.records import Prediction

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile

JOINED = 1024  # positions up to which short dialogues share a row on a CPU; 4,096 took 1.3 times as long per position


@dataclass(frozen=True)
class Params:
    """params.yaml: predict.

    batch       utterances per step, about; a CPU takes a dialogue at a time
    row_tokens  positions that the utterances of a dialogue may share a tree of; where it is cut, its history is computed anew
    device      auto: a GPU where there is one; cpu, cuda, cuda:1; spread: layer by layer over all GPUs there are
    reallocate  none | reallocate: attention is moved between voice and face as reallocate.json in the model's folder says |
                reversed, random_heads, presoftmax, text_prior: its controls and rivals (reallocate.py)
    """

    batch: int = 48
    row_tokens: int = 4096
    device: str = "auto"
    reallocate: Mode = "none"

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        if self.batch < 1:
            yield f"batch: must be at least 1, not {self.batch}."
        if self.row_tokens < 0:
            yield f"row_tokens: must not be negative, not {self.row_tokens}."
        yield from device_faults(self.device)


@dataclass(frozen=True)
class Reads:
    """What a model reads: by which encoder, which token columns, and id -> slot -> sentence."""

    encoder: encoding.Encoder
    columns: Mapping[Modality, Sequence[str]]
    sentences: Mapping[str, Mapping[str, str]]


class MercModel:
    """A trained merc model in memory: loaded once, asked as often as one likes.

    folder    where it lies
    metadata  what the folder says of its training
    labels    in the order of the scores
    """

    def __init__(self, folder: Path, backbone: str | None = None, device: str = "auto") -> None:
        """Load the model in ``folder``; ``backbone``: where its backbone lies, if not where the model looks for it.

        Raises ModelError where the folder holds no merc model, or not the one that it says it holds.
        """
        self._lm, self.metadata = model_folder.load(folder, backbone, device)
        must_name_emotions(self.metadata, folder)
        self.folder, self.labels = folder, self.metadata.labels
        self._gate = modality_gate.read(folder, self.metadata)
        self._reallocation: reallocation_file.Reallocation | None = None
        self._kept: KeptHistory | None = None
        self._lm.merge()
        self._prompt = prompt_params(folder, self.metadata)
        own = int(self.metadata.params.get("merc", {}).get("max_length", self._lm.max_length))
        self._encoder = encoder_for(self._lm, self._prompt, min(own, self._lm.max_length))
        self._encoder.check_labels_distinct(self.labels, prompt.label_target)

    def __repr__(self) -> str:
        reads = ", ".join(("words", *self.metadata.modalities))
        return (
            f"MercModel({str(self.folder)!r}: {self.metadata.variant}, reads {reads}, labels {', '.join(self.labels)})"
        )

    def score(
        self,
        manifest: Manifest,
        tokens: TokenFile,
        splits: Sequence[Split],
        params: Params,
        described: variants.Described = variants.NOBODY,
        only: Collection[str] | None = None,
    ) -> list[Prediction]:
        """Predictions for every labelled or unlabelled utterance of ``splits``, in id order.

        described  descriptions by source, where the model's variant reads any
        only       ids of the utterances that are asked about, the others being history; None: all

        Words that do not fit the model are cut, with a note. Raises ModelError where the tokens are not of the kind it was
        trained on, or its descriptions are not there; StaleError where model or tokens were made from other splits than
        the manifest's.
        """
        return self.score_with(manifest, tokens, splits, params, described, lambda asked, _: asked, only)[0]

    def score_with(
        self,
        manifest: Manifest,
        tokens: TokenFile,
        splits: Sequence[Split],
        params: Params,
        described: variants.Described,
        more: Callable[[Asked, Reads], Asked],
        only: Collection[str] | None = None,
    ) -> tuple[list[Prediction], dict[str, NDArray[np.float64]]]:
        """Predictions as of ``score``, and id -> (C,) log-probabilities of all that ``more`` makes of the questions: these, and
        further ones in the same trees, under ids of their own."""
        inputs, fingerprint = self._must_fit(manifest, tokens, splits, described)
        sentences = variants.sentences(inputs, described, [u.id for u in manifest.utterances])

        def ask(of: Manifest) -> Asked:
            modalities = self.metadata.modalities
            return prompts(of, splits, self.labels, modalities, self._prompt, inputs.behavior_of, sentences, only)

        asked, notes = fitting(manifest, ask, self._encoder)
        read = tokens.without(inputs.hidden(tokens.columns))
        logs = self._log_probs(more(asked, Reads(self._encoder, inputs.read(tokens.columns), sentences)), read, params)
        gold = {u.id: u.label for u in manifest.utterances}
        made = [prediction(id, gold[id], self.labels, logs[id]) for id in sorted(one.id for one, _ in asked)]
        return [replace(one, manifest=fingerprint, note=notes.get(one.id)) for one in made], logs

    def score_items(
        self,
        manifest: Manifest,
        tokens: TokenFile,
        items: Sequence[ConflictItem],
        params: Params,
        described: variants.Described = variants.NOBODY,
        rule: attention_rows.Rule | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Item id -> (C,) log-probabilities of the labels, which add up to one, at the model's temperature; see ``score``.

        A recombined item is asked about like the utterance whose words it has, with another's face and body. ``rule``: reads or
        changes attention where labels are scored, in place of what ``params`` say.
        """
        splits = tuple(split for split in SPLITS if any(item.split == split for item in items))
        inputs, _ = self._must_fit(manifest, tokens, splits, described)
        own = variants.sentences(inputs, described, [u.id for u in manifest.utterances])
        sentences = recombined.sentences_of(items, own)

        def ask(of: Manifest) -> Asked:
            shape, modalities = self._prompt, self.metadata.modalities
            asked = recombined.prompts_of(items, of, self.labels, modalities, shape, inputs.behavior_of, sentences)
            return [(one, self.labels) for one in asked]

        asked, _ = fitting(manifest, ask, self._encoder, {item.id: item.voice_of for item in items})
        return self._log_probs(asked, tokens.without(inputs.hidden(tokens.columns)), params, rule)

    def keep_history(self) -> None:
        """From here on, what was computed of a dialogue is kept for its next utterance, for a conversation that goes on.

        Adapters that know modalities apart compute it anew: their gates look at whole blocks.
        """
        if self._lm.adapter is None:
            self._kept = KeptHistory(self._lm, self._encoder)

    def must_give_rows(self) -> None:
        """Raise ModelError where no rule can read this model's attention."""
        self._lm.must_give_rows()

    def _must_fit(
        self, manifest: Manifest, tokens: TokenFile, splits: Sequence[Split], described: variants.Described
    ) -> tuple[variants.Variant, str | None]:
        """What the model reads, and the manifest's fingerprint. ModelError or StaleError where these are not what it learned
        from, or its descriptions are not there."""
        metadata = self.metadata
        model_folder.check_tokens(metadata, tokens.k, tokens.columns, self.folder)
        fingerprint = _must_have_learned_from(manifest, tokens, metadata, self.folder)
        inputs = variants.of_model(metadata.params, metadata.modalities)
        variants.must_be_described(metadata.variant, inputs, described, manifest, splits)
        return inputs, fingerprint

    def _log_probs(
        self, asked: Asked, tokens: TokenFile, params: Params, rule: attention_rows.Rule | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Id -> (C,) log-probabilities of the labels, at the model's temperature; attention is moved where params ask for it, or as ``rule`` says."""
        with enough_memory():
            if self._kept is not None and rule is None and params.reallocate == "none":
                sums = self._kept.score(asked, tokens)
            elif rule or params.reallocate == "none":
                sums = score_labels(self._lm, self._encoder, asked, tokens, params, rule=rule)
            else:
                sums = reallocated(self._lm, self._encoder, asked, tokens, params, self.reallocation)
        _must_be_numbers(sums, self.folder)
        sums = sums if self._gate is None else self._gate.combined(asked, sums, tokens)
        return {id: temperature.scaled(of, self._temperature) for id, of in sums.items()}

    @property
    def _temperature(self) -> float:
        """Models of before temperatures were fitted say nothing of theirs; a gate has its own scale."""
        return 1.0 if self._gate else float(self.metadata.dev.get("temperature", 1.0))

    @property
    def reallocation(self) -> reallocation_file.Reallocation:
        """How attention is moved in this model: reallocate.json of its folder, unless another one was set."""
        if self._reallocation is None:
            self._reallocation = reallocation_file.read(self.folder, self.metadata)
        return self._reallocation

    @reallocation.setter
    def reallocation(self, made: reallocation_file.Reallocation) -> None:
        self._reallocation = made


def prompt_params(folder: Path, metadata: behavior_model.ModelMetadata) -> prompt.Params:
    """How the model's prompts were worded. ModelError where a trainer of one's own did not say so: guesses give wrong labels."""
    if "prompt" not in metadata.params:
        raise ModelError(
            f"its {behavior_model.METADATA} does not say how it was asked (params.prompt). Train it again.", path=folder
        )
    return from_mapping(metadata.params["prompt"], prompt.Params, f"{folder / behavior_model.METADATA}: params.prompt")


def _must_have_learned_from(
    manifest: Manifest, tokens: TokenFile, metadata: behavior_model.ModelMetadata, folder: Path
) -> str | None:
    """StaleError unless model and tokens were made from the manifest's train and dev; returns its fingerprint, None for
    clips of no corpus, whose tokens need only be calibrated as the model's."""
    calibration = metadata.tokens.get("calibration")
    if calibration is not None:
        own = Calibration.from_json(calibration).fitted
        provenance.must_match(tokens.path, tokens.calibration.fitted, own, "bemerc tokens, or train the model again")
    if not provenance.is_corpus(manifest):
        return None
    learned = provenance.learned(manifest)
    provenance.must_match(
        folder, metadata.data.get("learned"), learned, f"bemerc train --stage 2 --variant {metadata.variant}"
    )
    return learned


def _must_be_numbers(scores: Mapping[str, NDArray[np.float64]], folder: Path) -> None:
    """Raise ModelError where label scores are no numbers: the first label would be the likeliest, and say nothing."""
    faulty = sorted(id for id, sums in scores.items() if np.isnan(sums).any() or not np.isfinite(np.max(sums)))
    if faulty:
        raise ModelError(
            f"the label scores of {len(faulty)} of {len(scores)} utterances are no numbers, such as those of "
            f"{printable(faulty[0])}. Weights in float16 can overflow: train the model with model.dtype: bfloat16 or float32.",
            path=folder,
            name=faulty[0],
        )


def prompts(
    manifest: Manifest,
    splits: Sequence[Split],
    labels: Sequence[str],
    modalities: Sequence[Modality],
    shape: prompt.Params,
    behavior_of: prompt.BehaviorOf = "target",
    described: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    only: Collection[str] | None = None,
) -> list[tuple[prompt.Prompt, tuple[str, ...]]]:
    """Every utterance of the splits with the labels to score, dialogue by dialogue; ``described``: id -> slot -> sentence;
    ``only``: ids of those that are asked about, None: all."""

    def asked(dialogue: Dialogue, index: int) -> prompt.Prompt:
        sentences = described.get(dialogue.utterances[index].id, {})
        return prompt.merc_prompt(
            dialogue, index, labels, modalities, shape, behavior_of=behavior_of, described=sentences
        )

    return [
        (asked(dialogue, index), tuple(labels))
        for dialogue in manifest.dialogues()
        for index, utterance in enumerate(dialogue.utterances)
        if utterance.split in splits and (only is None or utterance.id in only)
    ]


def encoder_for(loaded: behavior_model.BehaviorModel, shape: prompt.Params, max_length: int) -> encoding.Encoder:
    """The encoder of a model's tokenizer, inside its chat template where params ask for it."""
    frame = chat_template.frame_of(loaded.tokenizer, loaded.params.name_or_path) if shape.template == "chat" else None
    return encoding.Encoder(loaded.tokenizer, loaded.k, min(max_length, loaded.max_length), frame)


def score_labels(
    loaded: behavior_model.BehaviorModel,
    encoder: encoding.Encoder,
    asked: Sequence[tuple[prompt.Prompt, tuple[str, ...]]],
    tokens: TokenFile | None,
    params: Params,
    quiet: bool = False,
    rule: attention_rows.Rule | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Utterance id -> (C,) log-probability of each label's tokens, with the mark that ends an answer where labels need it.

    In the order of ``asked``, each utterance once. A label whose probability is no number is NaN. ``rule``: reads or changes
    attention where labels are scored.
    """
    ended = {labels: encoder.overlap(labels, prompt.label_target) for labels in {labels for _, labels in asked}}
    examples = [
        example
        for one, labels in asked
        for example in encoder.encode_answers(one, [prompt.label_target(label) for label in labels], ended[labels])
    ]
    sums = {one.id: np.full(len(labels), np.nan) for one, labels in asked}
    left = {one.id: len(labels) for one, labels in asked}
    assert len(sums) == len(asked), "an utterance is asked about once"
    size = params.batch * max(map(len, sums.values()), default=1)
    groups = _groups(examples, params, size, loaded.trees == "paths")
    with torch.inference_mode(), _shown(len(asked), quiet) as advance:
        multiple = loaded.length_multiple()
        for batch, _ in batching.prefetch(groups, lambda group: batching.collate(group, tokens, multiple)):
            parts = loaded.target_log_probs(batch, rule).double().cpu().numpy()
            totals = np.bincount(batch.example, weights=parts, minlength=len(batch.keys))
            for (id, answer), total in zip(batch.keys, totals, strict=True):
                sums[id][answer] = total
                left[id] -= 1
            advance(sum(left[id] == 0 for id in {id for id, _ in batch.keys}))
    return sums


def reallocated(
    loaded: behavior_model.BehaviorModel,
    encoder: encoding.Encoder,
    asked: Asked,
    tokens: TokenFile,
    params: Params,
    made: reallocation_file.Reallocation,
    quiet: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """As ``score_labels``, in the mode ``params.reallocate``. ModelError where the model's attention cannot be moved."""
    if params.reallocate == "text_prior" and made.gamma:
        both = [pair for one, labels in asked for pair in ((one, labels), (prompt.without_behavior(one), labels))]
        sums = {
            id: temperature.scaled(of, 1.0)
            for id, of in score_labels(loaded, encoder, both, tokens, params, quiet).items()
        }
        return {one.id: sums[one.id] - made.gamma * sums[prompt.without_behavior(one).id] for one, _ in asked}
    if rule := reallocate.rule_of(made, params.reallocate):
        loaded.must_give_rows()
        reallocate.must_fit(made, loaded.lm)
    return score_labels(loaded, encoder, asked, tokens, params, quiet, rule)


def _groups(
    examples: Sequence[encoding.Example], params: Params, size: int, walked: bool
) -> Iterable[list[packing.Tree]]:
    """Trees to compute at a time, each a dialogue (a block of the window); ``size``: examples per step, about.

    Under a mask rows stand side by side, and dialogues never share one: they would only look past each other. ``walked``:
    one row at a time, in which short dialogues share the head; longer ones a CPU's caches do not hold.
    """
    blocks = itertools.groupby(examples, key=lambda example: example.nodes[1])
    trees = [tree for _, some in blocks for tree in packing.pack_trees(list(some), params.row_tokens)]
    if not walked:
        return batching.batches(trees, size)
    return ([row] for row in packing.merge_trees(trees, min(params.row_tokens, JOINED), size))


def prediction(id: str, gold: str | None, labels: Sequence[str], sums: NDArray[np.float64]) -> Prediction:
    """(C,) label log-probabilities -> probabilities that add up to one, and the likeliest label."""
    shifted = np.exp(sums - np.max(sums))
    chances = shifted / shifted.sum()
    scores = {label: float(chance) for label, chance in zip(labels, chances, strict=True)}
    return Prediction(id, gold, labels[int(np.argmax(chances))], scores, None)


def _shown(total: int, quiet: bool) -> Any:
    return contextlib.nullcontext(lambda count: None) if quiet else bar("Scoring labels", total, "utterances")
