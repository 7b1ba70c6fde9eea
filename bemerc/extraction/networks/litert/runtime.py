"""LiteRT: a model of the package, run on one thread."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks.graph import quiet

FOLDER = resources.files(__package__) / "models"


class Network:
    """A model file of this package: ``input``, the array (1, ...) float32 to write to, then ``run``.

    The weights are read from the file's pages, which all worker processes share.
    """

    def __init__(self, name: str, outputs: tuple[str, ...]) -> None:
        """``outputs``: the names of the output tensors that ``run`` returns, in this order."""
        with quiet():
            from ai_edge_litert.interpreter import Interpreter

            with resources.as_file(FOLDER / f"{name}.tflite") as path:
                self._interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
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
