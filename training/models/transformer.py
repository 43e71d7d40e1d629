"""Transformer denoiser of the Diffusion Policy paper: action tokens attend to the step and to the observations."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from training.model_schema import TransformerSection

INITIAL_DEVIATION = 0.02  # of matrices and position embeddings, as in minGPT, on which the paper's code builds


class TransformerDenoiser(nn.Module):
    """Denoises (B, T, Da), told the step and To observation tokens (B, To, Do).

    With `causal`, action i attends to actions up to i, to the step, and to observations up to i.
    """

    frequencies: Tensor
    action_mask: Tensor
    memory_mask: Tensor

    def __init__(self, action_width: int, observation_width: int, horizon: int, n_obs_steps: int,
                 config: TransformerSection) -> None:
        super().__init__()
        width = config.width
        self.action_in = nn.Linear(action_width, width)
        self.observation_in = nn.Linear(observation_width, width)
        self.action_positions = nn.Parameter(torch.zeros(1, horizon, width))
        self.memory_positions = nn.Parameter(torch.zeros(1, 1 + n_obs_steps, width))
        half = width // 2
        frequencies = torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.dropout = nn.Dropout(config.embedding_dropout)
        self.memory = _memory(config)
        layer = nn.TransformerDecoderLayer(width, config.heads, 4 * width, config.attention_dropout, "gelu",
                                           batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, config.layers)
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, action_width)
        self._causal = config.causal
        action, token = torch.arange(horizon)[:, None], torch.arange(1 + n_obs_steps)[None]
        self.register_buffer("action_mask", _hidden(action < action.T), persistent=False)
        # Token 0 is the step and has no time; token j is observation j - 1.
        self.register_buffer("memory_mask", _hidden(action < token - 1), persistent=False)
        self.apply(_initialise)
        nn.init.normal_(self.action_positions, std=INITIAL_DEVIATION)
        nn.init.normal_(self.memory_positions, std=INITIAL_DEVIATION)

    def forward(self, actions: Tensor, steps: Tensor, observations: Tensor) -> Tensor:
        """(B, T, Da), (B,), (B, To, Do) -> (B, T, Da)."""
        angles = steps[:, None].float() * self.frequencies
        step = torch.cat([angles.sin(), angles.cos()], dim=-1)[:, None]  # (B, 1, width)
        tokens = torch.cat([step, self.observation_in(observations)], dim=1)
        memory = self.memory(self.dropout(tokens + self.memory_positions))
        x = self.dropout(self.action_in(actions) + self.action_positions)
        if self._causal:
            x = self.decoder(x, memory, self.action_mask, self.memory_mask, tgt_is_causal=True)
        else:
            x = self.decoder(x, memory)
        return self.out(self.norm(x))

    def decayed_parameters(self) -> set[str]:
        """Names of the parameters that weight decay is for: the matrices of linear maps and attention."""
        matrices = (nn.Linear, nn.MultiheadAttention)
        return {f"{prefix}.{name}" for prefix, module in self.named_modules() if isinstance(module, matrices)
                for name, value in module.named_parameters(recurse=False) if value.dim() > 1}


def _memory(config: TransformerSection) -> nn.Module:
    width = config.width
    if config.condition_layers == 0:
        return nn.Sequential(nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width))
    layer = nn.TransformerEncoderLayer(width, config.heads, 4 * width, config.attention_dropout, "gelu",
                                       batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, config.condition_layers, enable_nested_tensor=False)


def _hidden(mask: Tensor) -> Tensor:
    """True where attention is not allowed -> what is added to its scores."""
    return torch.zeros(mask.shape).masked_fill(mask, -torch.inf)


def _initialise(module: nn.Module) -> None:
    """Normal matrices, biases of zero; norms begin as the identity."""
    if isinstance(module, nn.Linear | nn.MultiheadAttention):
        for value in cast(nn.Module, module).parameters(recurse=False):
            if value.dim() > 1:
                nn.init.normal_(value, std=INITIAL_DEVIATION)
            else:
                nn.init.zeros_(value)
