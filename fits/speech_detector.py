"""Silero VAD's weights -> bemerc/media/speech_detector.npz.

    pip download --no-deps silero-vad==6.2.3 && unzip silero_vad-6.2.3-py3-none-any.whl
    python -m fits.speech_detector silero_vad/data/silero_vad_16k_sequence.onnx

Of the package's files this one has the weights of version 6.2 by the names of their layers; its silero_vad_16k.safetensors
holds those of an earlier version. Needs onnx, and nothing else of the package.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

OUT = Path(__file__).resolve().parents[1] / "bemerc" / "media" / "speech_detector.npz"


def read(file: Path) -> dict[str, NDArray[np.float32]]:
    """The ONNX file's weights under bemerc.media.speech_detector's names and in its order."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(file).graph.initializer}
    lstm = next(node for node in onnx.load(file).graph.node if node.op_type == "LSTM")
    inputs, recurrent, bias = (stored[name][0] for name in lstm.input[1:4])
    result = {"spectrum": stored["stft.forward_basis_buffer"][:, 0].T}
    for layer in range(4):
        kernel = stored[f"encoder.{layer}.weight"]  # (outputs, inputs, 3)
        result[f"conv{layer}"] = kernel.transpose(2, 1, 0).reshape(-1, len(kernel))
        result[f"conv{layer}_bias"] = stored[f"encoder.{layer}.bias"]
    result |= {
        "lstm": gates(inputs).T,
        "lstm_recurrent": gates(recurrent).T,
        "lstm_bias": gates(bias[: len(bias) // 2]) + gates(bias[len(bias) // 2 :]),
        "output": stored["output.weight"][0, :, 0],
        "output_bias": stored["output.bias"],
    }
    return {name: np.ascontiguousarray(values, np.float32) for name, values in result.items()}


def gates(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """ONNX's order of gates (input, output, forget, new) -> input, forget, new, output."""
    given, out, forget, new = np.split(values, 4)
    return np.concatenate([given, forget, new, out])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    np.savez(given.out, **read(given.onnx))  # type: ignore[arg-type]
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
