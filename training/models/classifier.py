"""Head of the stage classifier: image features and low-dimensional inputs to one logit a stage."""

from __future__ import annotations

from torch import Tensor, nn


class StageHead(nn.Module):
    """(B, features) -> (B, n_stages) logits."""

    def __init__(self, features: int, hidden: int, n_stages: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
                                    nn.Linear(hidden, n_stages))

    def forward(self, features: Tensor) -> Tensor:
        """(B, features) -> (B, n_stages)."""
        return self.layers(features)
