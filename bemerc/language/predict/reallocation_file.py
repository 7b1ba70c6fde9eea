"""reallocate.json in a model folder: what ``bemerc conflict calibrate`` measured, by which attention is moved.

It belongs to one model and one kind of tokens, and is refused beside another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core import atomic
from bemerc.core.errors import ModelError
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import MODALITIES
from bemerc.language.model.metadata import MOST_TOKENS, ModelMetadata

FILE = "reallocate.json"
SCHEMA, SCHEMA_VERSION = "bemerc-reallocate", 1
MOST_LAYERS, MOST_HEADS = 1024, 1024
_AGAIN = "Run 'bemerc conflict calibrate' again."
Heads = Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Reallocation:
    """How attention is moved in one model.

    model   fingerprint of the model (``fingerprint``)
    k       behavior tokens per modality
    tau, band  (layers, heads, 2) the middle of rho and how far it may be from it: at the end of a prompt, inside a label
    chosen  layer -> heads in which attention is moved; ``drawn``: as many others, at random
    sinks   layer -> slots (modality * K + token) that take attention whatever stands there, and are left out
    beta, boost, gamma  strengths of the reallocation, of the boost before the softmax, of the text's belief
    made    how: seed, counts, dev's numbers at every strength
    """

    model: str
    k: int
    tau: NDArray[np.float64]
    band: NDArray[np.float64]
    chosen: Heads
    drawn: Heads
    sinks: Mapping[int, tuple[int, ...]]
    beta: float
    boost: float
    gamma: float
    made: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Raise ValueError, with a clause, where the values cannot be."""
        for fault in self._faults():
            raise ValueError(fault)

    def _faults(self) -> Iterator[str]:
        shape = self.tau.shape
        if len(shape) != 3 or shape != self.band.shape or shape[2] != 2:
            yield "tau and band must hold two numbers per layer and head"
            return
        layers, heads, _ = shape
        if not (1 <= layers <= MOST_LAYERS and 1 <= heads <= MOST_HEADS and 1 <= self.k <= MOST_TOKENS):
            yield "so many layers, heads or behavior tokens no model has"
        if not (_between(self.tau, 0, 1) and _between(self.band, 0, 2)):
            yield "tau must lie between 0 and 1, band between 0 and 2"
        slots = len(MODALITIES) * self.k
        for name, of, most in (
            ("chosen", self.chosen, heads),
            ("drawn", self.drawn, heads),
            ("sinks", self.sinks, slots),
        ):
            numbers = [number for some in of.values() for number in some]
            if not (all(0 <= layer < layers for layer in of) and all(0 <= number < most for number in numbers)):
                yield f"{name} names what the model does not have"
        for name, strength in (("beta", self.beta), ("boost", self.boost), ("gamma", self.gamma)):
            if not 0 <= strength <= 1:
                yield f"{name} must lie between 0 and 1"


def _between(values: NDArray[np.float64], low: float, high: float) -> bool:
    return bool(((values >= low) & (values <= high)).all())


# Weights beside a merged language model, which metadata.fingerprint names by itself.
BESIDE = ("projectors.safetensors", "modality_gate.safetensors")


def fingerprint(folder: Path, metadata: ModelMetadata) -> str:
    """32 hex digits of the model's weights (backbone, adapter, projectors, gate) and of the calibration of its tokens."""
    digest = hashlib.sha256(metadata.fingerprint.encode())
    digest.update(json.dumps(metadata.tokens, sort_keys=True, default=str).encode())
    for path in sorted(folder.glob("*.safetensors")):
        if not metadata.merged or path.name in BESIDE:
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def write(folder: Path, made: Reallocation) -> Path:
    """Write reallocate.json into a model folder. DiskError where the disk refuses."""
    document: dict[str, Any] = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "model": made.model, "k": made.k}
    document |= {
        name: [[[round(float(n), 6) for n in head] for head in layer] for layer in getattr(made, name)]
        for name in ("tau", "band")
    }
    for name in ("chosen", "drawn", "sinks"):
        document[name] = {str(layer): list(of) for layer, of in sorted(getattr(made, name).items())}
    document |= {"beta": made.beta, "boost": made.boost, "gamma": made.gamma, "made": dict(made.made)}
    atomic.write_text(folder / FILE, json.dumps(document, ensure_ascii=False) + "\n", atomic.PUBLIC)
    return folder / FILE


def read(folder: Path, metadata: ModelMetadata) -> Reallocation:
    """reallocate.json of the model in ``folder``. ModelError where there is none, it cannot be, or is of another model."""
    path = folder / FILE
    try:
        document = read_json(path)
    except JsonError as error:
        missing = (
            f"it has no {FILE}, and predict.reallocate asks for it. Run 'bemerc conflict calibrate' for this model, or set "
            "predict.reallocate: none."
        )
        raise error.become(ModelError, missing, _AGAIN, folder) from None
    made = _parsed(path, document)
    if made.model != fingerprint(folder, metadata):
        raise ModelError(f"it was measured on another model, or on other tokens. {_AGAIN}", path=path)
    if made.k != metadata.k:
        raise ModelError(f"it is of {made.k} behavior tokens, the model of {metadata.k}. {_AGAIN}", path=path)
    return made


def carry(folder: Path, metadata: ModelMetadata, out: Path, exported: ModelMetadata) -> None:
    """Take reallocate.json along to ``out``, an export of the model in ``folder`` that says the same up to rounding."""
    write(out, replace(read(folder, metadata), model=fingerprint(out, exported)))


def _parsed(path: Path, document: Any) -> Reallocation:
    if not isinstance(document, dict) or (document.get("schema"), document.get("schema_version")) != (
        SCHEMA,
        SCHEMA_VERSION,
    ):
        raise ModelError(f"this is no {FILE} of version {SCHEMA_VERSION}. {_AGAIN}", path=path)
    try:
        return Reallocation(
            _text(document["model"]),
            _whole(document["k"]),
            tau=_table(document["tau"]),
            band=_table(document["band"]),
            chosen=_listed(document["chosen"]),
            drawn=_listed(document["drawn"]),
            sinks=_listed(document["sinks"]),
            beta=_number(document["beta"]),
            boost=_number(document["boost"]),
            gamma=_number(document["gamma"]),
            made=dict(document["made"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        clause = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{printable(clause, 200)}. {_AGAIN}", path=path) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("model is no fingerprint")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("k is no whole number")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError("a strength is no number")
    return float(value)


def _table(value: Any) -> NDArray[np.float64]:
    """Nested lists of numbers, (layers, heads, 2). ValueError where they are ragged or hold something else."""
    if not (isinstance(value, list) and len(value) <= MOST_LAYERS and all(isinstance(one, list) for one in value)):
        raise ValueError("tau and band must be lists of lists")
    table = np.array(value)
    if table.dtype.kind not in "fi" or table.ndim != 3:
        raise ValueError("tau and band must hold numbers, alike for every layer")
    return table.astype(np.float64)


def _listed(value: Any) -> dict[int, tuple[int, ...]]:
    if not isinstance(value, dict):
        raise ValueError("chosen, drawn and sinks must be objects")
    for layer, numbers in value.items():
        whole = isinstance(numbers, list) and all(type(number) is int for number in numbers)
        if not (layer.isdecimal() and len(layer) <= 4 and whole and len(set(numbers)) == len(numbers)):
            raise ValueError("chosen, drawn and sinks must hold whole numbers by layer, each once")
    return {int(layer): tuple(numbers) for layer, numbers in value.items()}
