"""Published weights of Light-ASD or LR-ASD -> an ONNX file for ``extract_video.face.policy: network``.

    python -m fits.speaker_network weight/pretrain_AVA_CVPR.model speaker.onnx
    python -m fits.speaker_network --random light speaker.onnx     # without any weights, to try the way

The two networks are those of Liao et al., "A Light Weight Model for Active Speaker Detection" (CVPR 2023) and "LR-ASD"
(IJCV 2025), both MIT, github.com/Junhua-Liao; written here anew, with their names of layers, so that their weights fit.
Which one a file is of shows in these names. Of the training code nothing is needed, and no GPU.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

WIDTHS = ((1, 32), (32, 64), (64, 128))
MEAN, SPREAD = 0.4161, 0.1688  # of grey, from 0 to 1


class Block(nn.Module):
    """Convolutions in space (s; of sound over cepstra, m) and in time (t), each with its norm and a ReLU."""

    def __init__(self, space: str, dims: int, step: int = 1) -> None:
        super().__init__()
        self.space, self.dims, self.step = space, dims, step

    def add(self, name: str, norm: str, size: tuple[int, int], kernel: int = 1, step: int = 1) -> None:
        """A convolution over space, time, or (kernel 1) neither, and its norm."""
        over_time, over_space = (kernel, 1) if name.startswith("t") else (1, kernel)
        shape: tuple[int, ...] = (over_space, over_time)
        steps: tuple[int, ...] = (1, 1)
        if self.dims == 3:
            shape, steps = (over_time, over_space, over_space), (1, step, step)
        conv, norms = (nn.Conv3d, nn.BatchNorm3d) if self.dims == 3 else (nn.Conv2d, nn.BatchNorm2d)
        padding = tuple(length // 2 for length in shape)
        self.add_module(name, conv(*size, shape, steps, padding, bias=False))
        self.add_module(norm, norms(size[1], eps=1e-3))

    def run(self, values: Tensor, name: str, norm: str) -> Tensor:
        """One of them."""
        return torch.relu(self.get_submodule(norm)(self.get_submodule(name)(values)))


class LightBlock(Block):
    """Light-ASD's: kernels of 3 and of 5 side by side, added, and one of 1."""

    def __init__(self, space: str, dims: int, size: tuple[int, int], step: int = 1) -> None:
        super().__init__(space, dims)
        wide = (size[1], size[1])
        for kernel in (3, 5):
            self.add(f"{space}_{kernel}", f"bn_{space}_{kernel}", size, kernel, step)
            self.add(f"t_{kernel}", f"bn_t_{kernel}", wide, kernel)
        self.add("last", "bn_last", wide)

    def forward(self, values: Tensor) -> Tensor:
        sides = []
        for kernel in (3, 5):
            inner = self.run(values, f"{self.space}_{kernel}", f"bn_{self.space}_{kernel}")
            sides.append(self.run(inner, f"t_{kernel}", f"bn_t_{kernel}"))
        return self.run(sides[0] + sides[1], "last", "bn_last")


class LrBlock(Block):
    """LR-ASD's: a kernel of 5, then one of 3, first in space, then in time."""

    def __init__(self, space: str, dims: int, size: tuple[int, int], step: int = 1) -> None:
        super().__init__(space, dims)
        half = size[1] // 2
        self.add(f"{space}_1", f"{space}_norm_1", (size[0], half), 5, step)
        self.add(f"{space}_2", f"{space}_norm_2", (half, size[1]), 3)
        self.add("t_1", "t_norm_1", (size[1], size[1]), 5)
        self.add("t_2", "t_norm_2", (size[1], size[1]), 3)

    def forward(self, values: Tensor) -> Tensor:
        for name in (self.space, "t"):
            for number in (1, 2):
                values = self.run(values, f"{name}_{number}", f"{name}_norm_{number}")
        return values


class Encoder(nn.Module):
    """Three blocks with pools between them; of pictures (``dims`` 3) or of sound (2)."""

    def __init__(self, block: type[LightBlock] | type[LrBlock], dims: int) -> None:
        super().__init__()
        self.dims = dims
        for number, size in enumerate(WIDTHS, start=1):
            step = 2 if dims == 3 and number == 1 else 1
            self.add_module(f"block{number}", block("s" if dims == 3 else "m", dims, size, step))
        pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if dims == 3 else nn.MaxPool2d((1, 3), (1, 2), (0, 1))
        self.pool = pool  # in sound it halves the time, twice: from 100 rows a second to 25

    def forward(self, values: Tensor) -> Tensor:
        for number in (1, 2, 3):
            values = self.get_submodule(f"block{number}")(values)
            values = self.pool(values) if number < 3 else values
        pooled = values.amax(dim=(3, 4)) if self.dims == 3 else values.mean(dim=2)
        return pooled.transpose(1, 2)


class Fusion(nn.Module):
    """LR-ASD's gate over the channels of two things beside each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.bn = nn.Conv1d(width, width, 1, bias=False), nn.BatchNorm1d(width, eps=1e-3)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        both = torch.cat((one, other), 2).transpose(1, 2)
        return (both * torch.sigmoid(self.bn(self.attention(both)))).transpose(1, 2)


class Recurrent(nn.Module):
    """Two GRUs, forward and then backward in time."""

    def __init__(self, width: int, hidden: int, fusion: int | None = None) -> None:
        super().__init__()
        self.gru_forward = nn.GRU(width, hidden, batch_first=True)
        self.gru_backward = nn.GRU(width, hidden, batch_first=True)
        if fusion is not None:
            self.attention = Fusion(fusion)

    def forward(self, values: Tensor) -> Tensor:
        if hasattr(self, "attention"):  # LR-ASD: both of the same, and fused
            forward = self.gru_forward(values)[0]
            return self.attention(forward, self.gru_backward(values.flip(1))[0].flip(1))
        forward = nn.functional.gelu(self.gru_forward(values)[0])
        return nn.functional.gelu(self.gru_backward(forward.flip(1))[0].flip(1))


class Model(nn.Module):
    """Cepstra (1, 4 T, 13) and grey crops (1, T, 112, 112), 0 to 255 -> (1, T, 128)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        block = LightBlock if kind == "light" else LrBlock
        self.visualEncoder, self.audioEncoder = Encoder(block, 3), Encoder(block, 2)
        if kind == "light":
            self.GRU = Recurrent(128, 128)
        else:
            self.fusion, self.detector = Fusion(256), Recurrent(256, 64, fusion=128)

    def forward(self, audio: Tensor, crops: Tensor) -> Tensor:
        sound = self.audioEncoder(audio.unsqueeze(1).transpose(2, 3))
        picture = self.visualEncoder((crops.unsqueeze(1) / 255 - MEAN) / SPREAD)
        return self.GRU(sound + picture) if hasattr(self, "GRU") else self.detector(self.fusion(sound, picture))


class Scorer(nn.Module):
    """The model with its classifier: logits (T, 2) of not speaking and speaking."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.model, self.lossAV = Model(kind), nn.ModuleDict({"FC": nn.Linear(128, 2)})

    def forward(self, audio: Tensor, crops: Tensor) -> Tensor:
        return self.lossAV["FC"](self.model(audio, crops).reshape(-1, 128))


def scorer_of(weights: Mapping[str, Tensor]) -> Scorer:
    """The network that these weights are of, with them; RuntimeError where they are of none of the two."""
    named = {name.removeprefix("module."): value for name, value in weights.items()}
    named = {name: value for name, value in named.items() if not name.startswith("lossV.")}  # of training alone
    scorer = Scorer("light" if any(name.startswith("model.GRU.") for name in named) else "lr")
    scorer.load_state_dict(named)
    scorer.eval()
    return scorer


def export(scorer: Scorer, path: Path) -> None:
    """Into one file, for any length."""
    example = torch.zeros(1, 40, 13), torch.zeros(1, 10, 112, 112)
    names = {"input_names": ["audio", "crops"], "output_names": ["logits"]}
    lengths = {"audio": {1: "audio_rows"}, "crops": {1: "frames"}, "logits": {0: "frames"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it warns of a successor, which needs packages more
        torch.onnx.export(
            scorer.eval(), example, str(path), dynamic_axes=lengths, opset_version=17, dynamo=False, **names
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="?", help="a .model file of Light-ASD or LR-ASD")
    parser.add_argument("out", type=Path, help="the ONNX file")
    parser.add_argument("--random", choices=("light", "lr"), help="random weights in place of a file")
    args = parser.parse_args()
    if (args.weights is None) == (args.random is None):
        parser.error("name a file of weights, or --random")
    if args.random:
        torch.manual_seed(0)
        scorer = Scorer(args.random).eval()
    else:
        scorer = scorer_of(torch.load(args.weights, map_location="cpu", weights_only=True))
    export(scorer, args.out)
    print(f"{args.out}: {sum(value.numel() for value in scorer.parameters()) / 1e6:.2f} million parameters")


if __name__ == "__main__":
    main()
