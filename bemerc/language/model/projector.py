"""The projector: behavior tokens of one modality -> embeddings that stand between those of words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bemerc.language.model.params import Params

# Weights' former names, which model folders of the release before have.
FORMER_WEIGHTS = {"line": "linear", "curve": "mlp", "place": "position", "absent": "mask_embedding"}


class Projector(nn.Module):
    """(N, K, D') calibrated behavior tokens of one modality -> (N, K, H) embeddings at the scale of word embeddings.

    Each token is projected beside the utterance's mean token, by a linear map plus a small MLP; its position among the K is
    learned, and a masked token becomes a learned embedding, which no measured token can be mistaken for.
    """

    def __init__(self, width: int, k: int, out: int, scale: float, params: Params) -> None:
        super().__init__()
        self.token_dropout, self.scale = params.token_dropout, scale
        self.linear = nn.Linear(2 * width, out, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(2 * width, params.projector_hidden),
            nn.GELU(),
            nn.Dropout(params.projector_dropout),
            nn.Linear(params.projector_hidden, out),
        )
        self.dropout = nn.Dropout(params.projector_dropout)
        self.position = nn.Parameter(0.5 * torch.randn(k, out))
        self.mask_embedding = nn.Parameter(torch.randn(out))
        self.norm = nn.RMSNorm(out)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """values (N, K, D') float32, mask (N, K) bool -> (N, K, H) float32."""
        if self.training and self.token_dropout:
            mask = mask & (torch.rand(mask.shape, device=mask.device) >= self.token_dropout)
        present = mask.unsqueeze(-1)
        values = self.dropout(values * present)
        mean = values.sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1)
        both = torch.cat([values, mean.expand_as(values)], dim=-1)
        projected = self.linear(both) + self.mlp(both)
        result: Tensor = self.norm(torch.where(present, projected, self.mask_embedding) + self.position) * self.scale
        return result


def halves(tokens: Tensor) -> Tensor:
    """(N, K, H) -> (N, 2, H): the means of the first and of the second half, for turns of the history; K = 1 stays one."""
    middle = (tokens.shape[1] + 1) // 2
    return torch.stack([part.mean(1) for part in (tokens[:, :middle], tokens[:, middle:]) if part.shape[1]], dim=1)
