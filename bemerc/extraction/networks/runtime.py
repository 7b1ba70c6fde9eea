"""LiteRT: a model file of this package, or of a user's task file, run on one thread."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import BemercError
from bemerc.extraction.networks.quiet import quiet

_MAX_BYTES = 64 << 20  # of a model; the largest here has 6 MB
FOLDER = resources.files(__package__) / "models"


class BrokenTaskFile(BemercError):
    """A .task file that cannot be used."""


class Network:
    """A model with one input and named outputs; ``run`` takes an array and returns arrays.

    The packaged weights are read from the file's pages, which all worker processes share.
    """

    def __init__(self, name: str, outputs: Sequence[str], task: Path | None = None) -> None:
        """``outputs``: the names of the output tensors that ``run`` returns, in this order. ``task``: a .task file
        (a zip) whose model of this name is used in place of the packaged one; BrokenTaskFile where there is none."""
        with quiet():
            self._interpreter = _packaged(name) if task is None else _of_task(name, outputs, task)
            self._interpreter.allocate_tensors()
        (details,) = self._interpreter.get_input_details()
        self._input, self.shape = details["index"], tuple(map(int, details["shape"]))
        index = {details["name"]: details["index"] for details in self._interpreter.get_output_details()}
        self._outputs = [index[output] for output in outputs]

    def run(self, values: NDArray[np.generic], scale: float = 1.0, offset: float = 0.0) -> list[NDArray[np.float32]]:
        """The outputs for ``scale`` * values + ``offset``, which has the input's shape without its first axis."""
        # The view must not outlive this line: the interpreter refuses to run while one exists.
        target = self._interpreter.tensor(self._input)()[0]
        np.multiply(values, np.float32(scale), out=target, casting="unsafe")
        if offset:
            target += np.float32(offset)
        del target
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output) for output in self._outputs]


_REMEDY = "face.task wants MediaPipe's face_landmarker.task, or null for the models that come with bemerc."


def _packaged(name: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with resources.as_file(FOLDER / f"{name}.tflite") as path:
        return Interpreter(model_path=str(path), num_threads=1)


def _of_task(name: str, outputs: Sequence[str], task: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        with zipfile.ZipFile(task) as bundle, bundle.open(f"{name}.tflite") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES >> 20} MiB")
        interpreter = Interpreter(model_content=content, num_threads=1)
    # A zip that is encrypted, or compressed in a way of its own, is a RuntimeError.
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BrokenTaskFile(f"no {name}.tflite can be read from it ({error}); {_REMEDY}", path=task) from error
    if _interface(interpreter, outputs) != _interface(_packaged(name), outputs):
        raise BrokenTaskFile(f"the inputs or outputs of {name}.tflite have other shapes; {_REMEDY}", path=task)
    return interpreter


def _interface(interpreter: Any, outputs: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Shapes and types of the inputs, and of the named outputs."""

    def of(tensor: Mapping[str, Any]) -> tuple[Any, Any]:
        return tensor["shape"].tolist(), tensor["dtype"]

    named = {tensor["name"]: of(tensor) for tensor in interpreter.get_output_details() if tensor["name"] in outputs}
    return [of(tensor) for tensor in interpreter.get_input_details()], named
