"""Models in Hugging Face's format: which folder a name means, and loading in which nothing of theirs runs.

``from_pretrained`` left alone asks the hub for whatever is no folder here, runs a repository's own classes after a "y" on
the terminal, and fetches attention kernels that a config names. Here a name becomes a folder first (``folder_of``), by one
attempt over the network, and only where a person gave the name; everything is then loaded from that folder (``load``).
"""

from __future__ import annotations

import contextlib
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bemerc.core.errors import BemercError, DiskError
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.core.terminal import printable

CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
# What a download takes: safetensors, tokenizers, configs; no pickles, no code, no subfolders.
_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken"]
_UNWANTED = ["*/*", "consolidated*", "*.fp16.*", "*.fp32.*", "*.msgpack.*"]
# One of them comes with every model that reads words, sound or pictures.
_PROCESSORS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "preprocessor_config.json")
_PROBE_S = 5.0
_NAME = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?", re.ASCII)
# Folders of this pipeline: models/backbone is a folder that is missing, and nobody's account on the hub.
_OWN = ("models", "data", "features", "results")
_JSON_BYTES = 4 << 20
_ATTENTION = {"eager", "sdpa", "", None}
_ATTENTION_KEYS = re.compile(r"_?(attn|experts)_implementation(_internal)?")


class PretrainedError(BemercError):
    """A model cannot be found or loaded. ``name``: what was asked for; ``reason``: why, a clause without a full stop."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{printable(name)}: {reason}.")
        self.name, self.reason = name, reason


def folder_of(name: str, weights: bool = True, download: bool = True) -> Path:
    """The folder in which the model ``name`` lies: that folder itself, or the model's place in Hugging Face's cache.

    weights   whether safetensors weights are needed, or config and tokenizer alone
    download  whether a model that is not in the cache may be fetched: only where a person gave the name. Nothing is
              fetched in offline mode (HF_HUB_OFFLINE), nor where ``name`` looks like a path

    Raises PretrainedError where there is no such folder, or the one attempt to reach the hub fails.
    """
    if name and Path(name).is_dir():
        return Path(name)
    if not is_hub_name(name):
        raise PretrainedError(name, "there is no such folder")
    found = cached(name, weights)
    if found is not None:
        return found
    if not download:
        raise PretrainedError(name, "it is no folder here, and is not in Hugging Face's cache on this machine")
    return _download(name, weights)


def is_hub_name(name: str) -> bool:
    """Whether a name that is no folder can be one of the hub's: NAME or ACCOUNT/NAME."""
    return _NAME.fullmatch(name) is not None and name.split("/")[0] not in _OWN and ".." not in name


def cached(name: str, weights: bool = True) -> Path | None:
    """The folder of a model that lies whole in Hugging Face's cache, without asking the network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, CONFIG)
    except HFValidationError:
        return None
    folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder is not None and _is_whole(folder, weights) else None


def _is_whole(folder: Path, weights: bool) -> bool:
    if not any((folder / name).is_file() for name in _PROCESSORS):
        return False
    files = weight_files(folder) if weights else []
    return not weights or (bool(files) and all(path.is_file() for path in files))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers reads: one, or those that an index names (be they there or not); none where
    a folder has neither. PretrainedError where the index is damaged."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        return []
    named = _read(folder / INDEX).get("weight_map")
    files = set(named.values()) if isinstance(named, dict) and _all_names(named.values()) else set()
    if not files:
        raise PretrainedError(str(folder), f"{INDEX} in it is damaged")
    return [folder / one for one in sorted(files)]


def _all_names(values: Iterable[Any]) -> bool:
    return all(isinstance(one, str) and Path(one).name == one for one in values)


def _download(name: str, weights: bool) -> Path:
    """Fetch a model into Hugging Face's cache, where the hub can be reached at all: its own client would try for a minute."""
    from huggingface_hub import hf_hub_url, is_offline_mode, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if is_offline_mode():
        raise PretrainedError(
            name, "it is no folder here, and not in Hugging Face's cache; HF_HUB_OFFLINE forbids asking"
        )
    wanted = [pattern for pattern in _WANTED if weights or "safetensors" not in pattern]
    try:
        _must_answer(hf_hub_url(name, CONFIG))
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=_UNWANTED))
    except GatedRepoError:
        raise PretrainedError(
            name, "its makers want to be asked first: request access on its page, and log in"
        ) from None
    except RepositoryNotFoundError:
        raise PretrainedError(name, "it is no folder here, and the hub knows no model of this name") from None
    except Exception as error:  # whatever a network can do, and each library wraps it in its own way
        raise PretrainedError(
            name, f"it is no folder here, and cannot be had from the hub ({_first_line(error)})"
        ) from error


def _must_answer(url: str) -> None:
    """OSError where the server cannot be reached; whatever it answers will do."""
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_PROBE_S).close()


def load(kind: Any, folder: Path, **options: Any) -> Any:
    """``kind.from_pretrained(folder, **options)`` without the folder's own code and without the network.

    ``kind`` is a class of transformers. Raises PretrainedError where a config asks for code, or loading fails in whatever
    way: files from strangers make every exception possible. A GPU without room raises torch.OutOfMemoryError.
    """
    for fault in config_faults(folder):
        raise PretrainedError(str(folder), fault)
    try:
        return kind.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True, **options)
    except MemoryError:
        raise PretrainedError(str(folder), "there is not enough memory for it") from None
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        raise PretrainedError(str(folder), _first_line(error)) from error


def config_faults(folder: Path) -> Iterator[str]:
    """What a folder's configs ask for that is never granted, a clause each: code of its own, kernels from elsewhere."""
    for path in sorted(folder.glob("*config*.json")):
        for key, value in _entries(_read(path)):
            if key == "auto_map" and value:
                yield (
                    f"{path.name} in it names code of its own (auto_map), which is never run; where transformers has the class "
                    "too, take the key out of a copy"
                )
            leaves = value.values() if isinstance(value, dict) else [value]
            if _ATTENTION_KEYS.fullmatch(key) and not all(_is_plain(leaf) for leaf in leaves):
                yield f"{path.name} in it chooses the code of its attention ({key}: {printable(value, 60)}); take the key out of a copy"


def _read(path: Path) -> dict[str, Any]:
    """A JSON object of at most a few megabytes; PretrainedError where it is none."""
    try:
        document = read_json(path, _JSON_BYTES, nan=True)  # Mamba's configs hold Infinity
    except (JsonError, DiskError) as error:
        raise PretrainedError(str(path), error.reason) from None
    if not isinstance(document, dict):
        raise PretrainedError(str(path), "it holds no keys and values")
    return document


def _is_plain(attention: Any) -> bool:
    return isinstance(attention, str | None) and attention in _ATTENTION


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a document, however deep."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _first_line(error: BaseException) -> str:
    text = str(error).strip().strip("'\"")
    return printable(text.splitlines()[0].rstrip(".")) if text else type(error).__name__
