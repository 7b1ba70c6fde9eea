"""Models in Hugging Face's format: find or download their folder, and load it without running code from it.

``folder_of`` turns a name into a folder, with at most one download; ``load`` then calls ``from_pretrained`` on that
folder offline. Plain ``from_pretrained`` asks the hub for whatever is no folder, runs a repository's own classes after
a "y" on the terminal, and fetches attention kernels that a config names.
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
# Every model that reads text, sound or images comes with one of these.
_PROCESSORS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "preprocessor_config.json")
_PROBE_S = 5.0
_NAME = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?", re.ASCII)
# Folders of this pipeline: models/backbone is a missing folder, not an account on the hub.
_LOCAL_FOLDERS = ("models", "data", "features", "results")
_JSON_BYTES = 4 << 20
_ATTENTION = {"eager", "sdpa", "", None}
_ATTENTION_KEYS = re.compile(r"_?(attn|experts)_implementation(_internal)?")
# What a model is built of, one by one: Llama 405B has 126 layers, DeepSeek 256 experts.
_PARTS = re.compile(r"(\w+_)?(layers?|experts|blocks)")
_MOST_PARTS = 2000


class PretrainedError(BemercError):
    """A model cannot be found or loaded. ``path``: what was asked for; ``reason``: a clause without a full stop."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{reason}.", path=name)
        self.reason = reason


def folder_of(name: str, weights: bool = True, download: bool = True) -> Path:
    """The folder of the model ``name``: ``name`` itself where it is one, else its place in Hugging Face's cache.

    weights   whether safetensors weights are needed, or config and tokenizer alone
    download  whether a model that is not in the cache may be downloaded: only where a person gave the name, and never
              in offline mode (HF_HUB_OFFLINE)

    Raises PretrainedError where there is no such model, or the one attempt to reach the hub fails.
    """
    if name and Path(name).is_dir():
        return Path(name)
    if not is_hub_name(name):
        raise PretrainedError(name, "there is no such folder")
    folder = cached(name, weights)
    if folder is not None:
        return folder
    if not download:
        raise PretrainedError(name, "it is no folder here, and is not in Hugging Face's cache on this machine")
    return _download(name, weights)


def is_hub_name(name: str) -> bool:
    """Whether ``name`` has the form of a name on the hub: NAME or ACCOUNT/NAME."""
    return _NAME.fullmatch(name) is not None and name.split("/")[0] not in _LOCAL_FOLDERS and ".." not in name


def cached(name: str, weights: bool = True) -> Path | None:
    """The folder of a model that is complete in Hugging Face's cache, else None; never uses the network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, CONFIG)
    except HFValidationError:
        return None
    folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder is not None and _is_complete(folder, weights) else None


def _is_complete(folder: Path, weights: bool) -> bool:
    if not any((folder / name).is_file() for name in _PROCESSORS):
        return False
    files = weight_files(folder) if weights else []
    return not weights or (bool(files) and all(path.is_file() for path in files))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers reads: one, or all that an index names, existing or not; else none.

    Raises PretrainedError where the index is damaged.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        return []
    weight_map = _read(folder / INDEX).get("weight_map")
    files = set(weight_map.values()) if isinstance(weight_map, dict) and _are_names(weight_map.values()) else set()
    if not files:
        raise PretrainedError(str(folder), f"{INDEX} in it is damaged")
    return [folder / name for name in sorted(files)]


def _are_names(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) and Path(value).name == value for value in values)


def _download(name: str, weights: bool) -> Path:
    """Download a model into Hugging Face's cache, after a quick test that the hub answers: its client retries for a
    minute."""
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
        raise PretrainedError(name, "access to it is restricted: request it on the model's page, and log in") from None
    except RepositoryNotFoundError:
        raise PretrainedError(name, "it is no folder here, and the hub knows no model of this name") from None
    except Exception as error:  # each library wraps network errors in its own way
        raise PretrainedError(
            name, f"it is no folder here, and cannot be downloaded from the hub ({_first_line(error)})"
        ) from error


def _must_answer(url: str) -> None:
    """OSError where the server cannot be reached; any answer counts."""
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_PROBE_S).close()


def load(kind: Any, folder: Path, **options: Any) -> Any:
    """``kind.from_pretrained(folder, **options)`` without the folder's own code and without the network.

    ``kind`` is a class of transformers. Raises PretrainedError where a config asks for code or loading fails: untrusted
    files can cause any exception. A GPU without enough memory raises torch.OutOfMemoryError.
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
    """What a folder's configs ask for and do not get, a clause each: code of their own, attention kernels from the
    hub, and more parts than a model has, which would be built for hours before their weights are missed."""
    for path in sorted(folder.glob("*config*.json")):
        for key, value in _entries(_read(path)):
            if key == "auto_map" and value:
                yield (
                    f"{path.name} in it names code of its own (auto_map), which is never run; where transformers has the class "
                    "too, take the key out of a copy"
                )
            if type(value) is int and value > _MOST_PARTS and _PARTS.fullmatch(key):
                yield f"{path.name} in it asks for {value} {key}, and {_MOST_PARTS} is the most"
            leaves = value.values() if isinstance(value, dict) else [value]
            if _ATTENTION_KEYS.fullmatch(key) and not all(_is_plain(leaf) for leaf in leaves):
                yield f"{path.name} in it chooses the code of its attention ({key}: {printable(value, 60)}); take the key out of a copy"


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file of at most _JSON_BYTES; PretrainedError where it is none."""
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
    """Every key and value of a JSON document at any depth."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield from item.items()
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _first_line(error: BaseException) -> str:
    text = str(error).strip().strip("'\"")
    return printable(text.splitlines()[0].rstrip(".")) if text else type(error).__name__
