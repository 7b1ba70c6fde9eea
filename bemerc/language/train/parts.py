"""A step in parts, one after the other: the gradient is the same sum, and less lives at once.

On a GPU as many parts as ``accumulate`` says. A CPU gains nothing from rows side by side, so there a step is also cut
where what it keeps for the way back would pass KEPT_BYTES. The limit depends on the model alone: on what is free at the
moment it would make two runs of one training differ in their last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bemerc.language.inputs.packing import Tree
    from bemerc.language.model.behavior_model import BehaviorModel

KEPT_BYTES = 1 << 30
# Numbers that a decoder layer keeps per position, in hidden and intermediate widths; measured with a 135 M Llama whose
# adapter sits on every matrix: 2.0 GB at 640 positions in float32, 1.1 in bfloat16. Dropout keeps a quarter more.
HIDDEN, INTERMEDIATE, DROPOUT = 16, 10, 1.25
# Copies of a trained weight in float32 beside itself: its gradient, Adam's two moments, the running mean, the best epoch's.
COPIES = 5
ITSELF_BYTES = 600 << 20  # Python with torch and transformers


def most_positions(model: BehaviorModel) -> int | None:
    """How many positions a part may have on this model's device; None: as many as there are."""
    return None if model.device.type != "cpu" else max(1, int(KEPT_BYTES / kept_bytes(model)))


def kept_bytes(model: BehaviorModel) -> float:
    """Bytes that a position keeps from the way forth to the way back, about."""
    config: Any = model.lm.config.get_text_config()
    hidden = model.lm.get_input_embeddings().weight.shape[1]
    intermediate = getattr(config, "intermediate_size", None) or 4 * hidden
    layers = getattr(config, "num_hidden_layers", 1)
    each = HIDDEN * hidden + INTERMEDIATE * intermediate
    numbers = layers * hidden + each if model.params.gradient_checkpointing else layers * each
    size = model.lm.get_input_embeddings().weight.dtype.itemsize
    return float(numbers * size * (DROPOUT if model.params.lora_dropout else 1))


def count(group: Sequence[Tree], accumulate: int, most: int | None, processes: int = 1) -> int:
    """In how many parts each of the processes computes a step of these trees; rows are never cut."""
    if most is None:
        return accumulate
    positions = len(group) * max(map(len, group))
    return max(accumulate, min(-(-positions // (most * processes)), -(-len(group) // processes)))


def memory_bytes(model: BehaviorModel, groups: Sequence[Sequence[Tree]], accumulate: int) -> float:
    """What training on a CPU holds at once in its heaviest step, about: weights, optimizer, the step, and Python itself."""
    most, weights = most_positions(model), {id(w): w for w in model.parameters()}.values()
    frozen = sum(w.numel() * w.element_size() for w in weights)
    trained = sum(w.numel() for w in model.trainable().values())
    rows = max(-(-len(group) // count(group, accumulate, most)) * max(map(len, group)) for group in groups)
    return float(frozen + 4 * COPIES * trained + rows * kept_bytes(model) + ITSELF_BYTES)
