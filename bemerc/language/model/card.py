"""A model's card: the README.md beside its weights, from what the folder says of itself and what is known of test.

Model cards are usually written by hand, late, and say what the model is for. This one is written with the weights, in the
front matter that Hugging Face reads, and says what the model must not be used for. Numbers on test come in only when
somebody judged predictions on it (tested.py): training never looks there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bemerc.core import atomic, huggingface

if TYPE_CHECKING:
    from bemerc.language.model.behavior_model import ModelMetadata

CARD = "README.md"
ADAPTERS = {"lora": "LoRA"} | {
    name: f"{title} in experts.safetensors (PEFT alone loads its mean expert, which is another model)"
    for name, title in {"mose": "MoSE", "moka": "MokA", "hydra": "HydraLoRA"}.items()
}

FORBIDDEN = """\
## What it must not be used for

The labels are **perceived** emotion: what annotators saw and heard in somebody, not what somebody felt. The model repeats their
view and its mistakes, which are not spread evenly over people. Do not use it

- to infer emotions of people **at work or in education**: Article 5(1)(f) of the EU AI Act (Regulation 2024/1689) forbids placing on
  the market, putting into service or using AI systems for that, but for medical or safety reasons;
- to judge, hire, grade, police, price, diagnose or watch anybody, or wherever a wrong answer harms a person;
- on people who have not consented, knowing what is measured: faces, voices and emotions are personal data.

Where emotion recognition is lawful, people exposed to it must be told (Article 50(3) of the same regulation); other laws may forbid more.
"""


def text(metadata: ModelMetadata, tested: Mapping[str, Any] | None = None) -> str:
    """The whole card; ``tested`` is what tested.py found on test, None where nobody looked."""
    parts = [_front(metadata), _title(metadata), _made_of(metadata), _data(metadata), _dev(metadata)]
    if metadata.task == "merc":
        parts.append(_tested(tested))
    return "\n".join([*parts, FORBIDDEN, _use(metadata), _licence(metadata)])


def write(folder: Path, metadata: ModelMetadata, tested: Mapping[str, Any] | None = None) -> None:
    """Write the card into a model folder. DiskError where the disk refuses."""
    atomic.write_text(folder / CARD, text(metadata, tested), atomic.PUBLIC)


def _front(metadata: ModelMetadata) -> str:
    """What Hugging Face reads: https://huggingface.co/docs/hub/model-cards."""
    lines = ["---", f"library_name: {'transformers' if metadata.merged else 'peft'}"]
    if not metadata.backbone_at and "/" in metadata.backbone and huggingface.is_hub_name(metadata.backbone):
        lines.append(f"base_model: {metadata.backbone}")
    lines += ["license: other", "license_name: as-the-backbone"]
    if metadata.task == "merc":
        lines.append("pipeline_tag: text-classification")
    tags = ["emotion-recognition-in-conversation", "bemerc", *([] if metadata.merged else ["lora"])]
    return "\n".join([*lines, f"tags: [{', '.join(tags)}]", "metrics: [accuracy, f1]", "---", ""])


def _title(metadata: ModelMetadata) -> str:
    if metadata.task == "align":
        return "# A language model that says what cached behavior tokens show\n\nStage 1 (align) of bemerc; stage 2 starts from it.\n"
    return (
        "# Emotion recognition in conversation, from words and cached behavior tokens\n\n"
        f"Stage 2 (merc) of bemerc, variant {metadata.variant}: it reads {_reads(metadata)}, and names one of "
        f"{len(metadata.labels)} emotions as people would perceive it: {', '.join(metadata.labels)}.\n"
    )


def _reads(metadata: ModelMetadata) -> str:
    return ", ".join(["words", *metadata.modalities]) if metadata.task == "merc" else ", ".join(metadata.modalities)


def _made_of(metadata: ModelMetadata) -> str:
    shape = metadata.params["model"]
    adapter = f"rank {shape['rank']}, alpha {shape['alpha']:g}, on {', '.join(shape['targets'])}"
    rows = [
        ("backbone", f"`{metadata.backbone}`, fingerprint {metadata.fingerprint}"),
        (
            "adapter",
            f"{ADAPTERS[shape.get('adapter', 'lora')]}, {adapter}"
            + (", merged into the backbone" if metadata.merged else ""),
        ),
        ("reads", _reads(metadata)),
        ("behavior tokens", f"{metadata.k} per modality and utterance" if metadata.modalities else "none"),
    ]
    # A trainer of one's own may have had no such sections; its model is saved all the same.
    if worded := metadata.params.get("prompt"):
        rows.append(("prompt", f"template {worded['template']}, window {worded['window']}"))
    if "seed" in (tuned := metadata.params.get(metadata.task, {})):
        rows.append(("seed", str(tuned["seed"])))
    return "## What it is made of\n\n" + _table(("", ""), rows) + "\nAll settings are in metadata.json.\n"


def _data(metadata: ModelMetadata) -> str:
    counts = metadata.data.get("splits", {})
    rows = [
        (split, str(one["utterances"]), str(one["dialogues"]), str(one["speakers"]), _spread(one["labels"]))
        for split, one in counts.items()
    ]
    words = f"Corpora: {', '.join(metadata.corpora)}. Dev picked the epoch; test was not looked at in training.\n\n"
    end = f"\nFingerprint of the manifest: {metadata.data['manifest']}.\n" if "manifest" in metadata.data else ""
    return "## What it was trained on\n\n" + words + _table(_COUNTED, rows) + end


_COUNTED = ("split", "utterances", "dialogues", "speakers", "labels")


def _spread(labels: Mapping[str, int]) -> str:
    return ", ".join(f"{label} {count}" for label, count in labels.items()) or "none"


def _dev(metadata: ModelMetadata) -> str:
    rows = [(name.replace("_", " "), f"{value:.3f}") for name, value in metadata.dev.items()]
    return "## On dev, which picked this epoch (so these are kind)\n\n" + _table(("", ""), rows)


def _tested(tested: Mapping[str, Any] | None) -> str:
    if tested is None:
        return (
            "## On test\n\nNobody has judged this model on test yet, or this card does not know of it: "
            "`bemerc card MODEL --predictions FILE` adds the numbers.\n"
        )
    overall = [
        ("accuracy", _interval(tested["accuracy"])),
        ("weighted F1", _interval(tested["weighted_f1"])),
        ("macro F1", _interval(tested["macro_f1"])),
    ]
    parts = [
        f"## On test\n\n{tested['utterances']} utterances of {tested['dialogues']} dialogues; "
        f"{100 * tested['confidence']:.0f} % intervals over dialogues.\n\n" + _table(("", ""), overall)
    ]
    for key, what in (("labels", "label"), ("speakers", "speaker"), ("genders", "gender")):
        rows = [(name, str(one["utterances"]), _number(one["f1"])) for name, one in tested.get(key, {}).items()]
        if rows:
            parts.append(_table((what, "utterances", "F1" if key == "labels" else "weighted F1"), rows))
    if not tested.get("genders"):
        parts.append(
            "The speakers' gender is not known: `bemerc card MODEL --predictions FILE --speakers TABLE` tells it.\n"
        )
    return "\n".join(parts)


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"


def _interval(one: Mapping[str, float | None]) -> str:
    value, low, high = one["value"], one["low"], one["high"]
    return _number(value) if value is None or low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _use(metadata: ModelMetadata) -> str:
    if metadata.task == "align":
        return "## Use\n\n`bemerc train --stage 2` starts from this folder; PEFT loads the adapter by itself.\n"
    return (
        "## Use\n\n```\nbemerc predict --video-dir clips --model FOLDER\n```\n\nWithout bemerc, the language model alone: "
        + ("`AutoModelForCausalLM.from_pretrained(FOLDER)`.\n" if metadata.merged else "PEFT loads the adapter.\n")
    )


def _licence(metadata: ModelMetadata) -> str:
    return (
        "## Licence\n\nThe backbone's licence is its makers', not ours, and holds for what is trained on it; so do the terms of the "
        f"corpora ({', '.join(metadata.corpora)}), some of which forbid commercial use.\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(_lines(head, rows)) + "\n"


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
