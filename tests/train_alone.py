"""A training in a process of its own, to be killed or to be one of several: python -m tests.train_alone WORLD OUT SECONDS

SIGTERM ends it with code 143. WORLD holds a backbone and tokens.h5 as test_train.py makes them; SECONDS is how long a step is made to take at least;
--sharded lays the weights over the processes, as the environment says that a launcher makes of a config; --gated trains an
adapter with gates; --seldom writes no checkpoint in the first minute, where else each step is followed by one.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from bemerc.behavior.tokens import file
from bemerc.cli.app import TERMINATED
from bemerc.core import stopping
from bemerc.corpus.manifest import MODALITIES
from bemerc.language.inputs import packing, prompts
from bemerc.language.model import behavior_model, model_folder
from bemerc.language.predict import score_labels
from bemerc.language.train import checkpoint, ema, loop, processes
from bemerc.language.train.log import log_of
from tests import toy_language as language

# Dropout is drawn by every process for itself; without it the losses must be the same.
STILL = {"lora_dropout": 0.0, "projector_dropout": 0.0, "token_dropout": 0.0}
# A tree per example, so that every process has some; one epoch ends in a step that does not go round.
PARAMS = replace(language.TRAINING, epochs=3, batch=5, row_tokens=0)


def steps(out: Path) -> int:
    """How many steps the log of a training has."""
    log = log_of(out)
    return log.read_text().count('"step"') if log.is_file() else 0


def fit(world: Path, out: Path, seconds: float = 0.0, gated: bool = False) -> loop.Fitted:
    """Train in ``out``; a step and a judgement take ``seconds`` at least."""
    manifest = language.manifest()
    shape = behavior_model.Params(str(world / "backbone"), device="cpu", rank=4, alpha=8.0, projector_hidden=8, **STILL)
    if gated:
        shape = replace(shape, adapter="mose", equal_parameters=False, gate_balance=0.3, gate_entropy=0.3)
    torch.manual_seed(0)
    made = model_folder.build(shape, language.WIDTHS, language.K)
    made.register_forward_hook(lambda *_: time.sleep(seconds))
    encoder = score_labels.encoder_for(made, prompts.Params(), 512)
    examples = [
        encoder.encode(prompts.merc_prompt(d, i, manifest.labels, MODALITIES, prompts.Params()))
        for d in manifest.dialogues()
        for i, u in enumerate(d.utterances)
        if u.split == "train"
    ]

    def score(of: behavior_model.BehaviorModel) -> loop.Score:
        time.sleep(seconds)
        weight = float(sum(ema.unsharded(p).double().sum() for p in of.trainable().values()))
        return loop.Score(weight, {"weight": weight})

    with file.open_tokens(world / "tokens.h5") as read:
        return loop.fit(made, packing.pack_trees(examples, PARAMS.row_tokens), read, score, PARAMS, out, "alone")


def main() -> None:
    world, out, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    stopping.listen()
    if "--seldom" not in sys.argv:
        checkpoint.CHECKPOINT_S = 0.0
    if "--sharded" in sys.argv:
        shard()
    try:
        fit(world, out, seconds, "--gated" in sys.argv)
    except stopping.Terminated:
        sys.exit(TERMINATED)


def shard() -> None:
    """Have accelerate shard the weights (FSDP 2) on CPUs, where its launcher knows no such thing."""
    real = processes.prepared

    def sharding(*given: object) -> Accelerator:
        accelerator = real(*given)
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        return accelerator

    processes.prepared = sharding


if __name__ == "__main__":
    main()
