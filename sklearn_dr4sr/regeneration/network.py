"""The diversity-promoted regenerator: encoder, K memories, promoter and decoder (4.2.2)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .._dropout import Dropout

__all__ = ["Regenerator"]

#: Keys and values, each (batch, heads, length, dim / heads).
KeysValues = tuple[torch.Tensor, torch.Tensor]


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be made apart, and so be kept."""

    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def keys_values(self, x: torch.Tensor) -> KeysValues:
        """Project (batch, length, dim) to keys and values."""
        key, value = self.key_value(x).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def forward(
        self,
        x: torch.Tensor,
        keys_values: KeysValues,
        mask: torch.Tensor | None = None,
        causal: bool = False,
    ) -> torch.Tensor:
        """Attend from (batch, length, dim) to where ``mask`` (batch, 1, 1, keys) is True."""
        mixed = functional.scaled_dot_product_attention(
            self._split(self.query(x)),
            *keys_values,
            attn_mask=mask,
            is_causal=causal,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def look_up(self, x: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attend from one token each, (batch, 1, dim), to (batch, length, dim), in evaluation.

        No keys and values are made: q . (W m) = (W' q) . m, and the mean of W m is W times that of
        m. A pattern asks its memory a few times, which costs less than to project all of it.
        """
        key, value = self.key_value.weight.unflatten(0, (2, self.n_heads, -1))
        query = self.query.weight.unflatten(0, (self.n_heads, -1))  # each (heads, dim / heads, dim)
        bias = self.query.bias.unflatten(0, (self.n_heads, -1, 1))
        out = self.out.weight.unflatten(1, (self.n_heads, -1)).transpose(0, 1)
        scale = key.shape[1] ** -0.5
        # the bias of the keys adds the same to all logits of a query, so it adds nothing
        ask = functional.linear(
            x[:, 0],
            (key.mT @ query).flatten(0, 1) * scale,
            (key.mT @ bias).flatten() * scale,
        ).unflatten(1, (self.n_heads, -1))  # (batch, heads, dim)
        logits = (ask @ memory.mT).masked_fill_(~mask[:, 0], -torch.inf)  # (batch, heads, length)
        mixed = (logits.softmax(-1) @ memory).flatten(1)  # (batch, heads * dim)
        answer = (out @ value).transpose(0, 1).flatten(1)  # (dim, heads * dim)
        bias = self.out(self.key_value.bias.chunk(2)[1])
        return functional.linear(mixed, answer, bias)[:, None]

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Post-norm Transformer layer; with ``cross`` it also attends to a memory."""

    def __init__(
        self, dim: int, hidden_dim: int, n_heads: int, dropout: float, cross: bool = False
    ) -> None:
        super().__init__()
        self.attention = Attention(dim, n_heads, dropout)
        self.norm = nn.LayerNorm(dim)
        self.cross = Attention(dim, n_heads, dropout) if cross else None
        self.cross_norm = nn.LayerNorm(dim) if cross else None
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, dim)
        )
        self.out_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None = None,
        causal: bool = False,
        memory: torch.Tensor | None = None,
        memory_mask: torch.Tensor | None = None,
        past: KeysValues | None = None,
    ) -> tuple[torch.Tensor, KeysValues]:
        """Transform (batch, length, dim); also return the keys and values, ``past`` included."""
        own = self.attention.keys_values(x)
        if past is not None:
            own = (torch.cat([past[0], own[0]], dim=2), torch.cat([past[1], own[1]], dim=2))
        x = self.norm(x + self.dropout(self.attention(x, own, mask, causal)))
        if self.cross is not None:
            if x.shape[1] == 1 and not self.training:
                seen = self.cross.look_up(x, memory, memory_mask)
            else:
                seen = self.cross(x, self.cross.keys_values(memory), memory_mask)
            x = self.cross_norm(x + self.dropout(seen))
        return self.out_norm(x + self.dropout(self.feed_forward(x))), own


class Regenerator(nn.Module):
    """Source sequence -> K memories -> patterns.

    Tokens are the items' codes 0 .. n_items - 1, then EOS = n_items, SOS and PAD: all that can be
    generated are the first n_items + 1 rows of the embedding, which also makes the logits.

    Parameters
    ----------
    n_items : int
        |V|.
    n_memories : int
        K.
    embedding_dim, hidden_dim, n_layers, n_heads, dropout
        d = 64, 256, 2, 2 and .5 in the paper.
    max_length, max_pattern_length : int
        Items of the longest source and of the longest pattern.
    """

    def __init__(
        self,
        n_items: int,
        n_memories: int = 5,
        embedding_dim: int = 64,
        hidden_dim: int = 256,
        n_layers: int = 2,
        n_heads: int = 2,
        dropout: float = 0.5,
        max_length: int = 50,
        max_pattern_length: int = 24,
    ) -> None:
        super().__init__()
        self.n_memories = n_memories
        self.max_length, self.max_pattern_length = max_length, max_pattern_length
        self.eos, self.sos, self.pad = n_items, n_items + 1, n_items + 2
        shape = (embedding_dim, hidden_dim, n_heads, dropout)
        self.embedding = nn.Embedding(n_items + 3, embedding_dim)
        self.source_position = nn.Embedding(max_length + 2, embedding_dim)
        self.pattern_position = nn.Embedding(max_pattern_length + 2, embedding_dim)
        # log of each item's share in the training data: what generative mode knows before it looks
        self.register_buffer("log_share", torch.zeros(n_items))
        self.dropout = Dropout(dropout)
        self.encoder = nn.ModuleList(Block(*shape) for _ in range(n_layers))
        self.decoder = nn.ModuleList(Block(*shape, cross=True) for _ in range(n_layers))
        self.projection = nn.Sequential(
            nn.Linear(embedding_dim, embedding_dim * n_memories),
            nn.ReLU(),
            nn.Linear(embedding_dim * n_memories, embedding_dim * n_memories),
        )
        # No dropout in the promoter: its noise would be a way to look balanced without being so.
        self.promoter = nn.ModuleList(Block(*shape[:3], 0.0) for _ in range(n_layers))
        self.chooser = nn.Sequential(
            nn.Linear(embedding_dim, embedding_dim),
            nn.ReLU(),
            nn.Linear(embedding_dim, n_memories),
        )
        # Generative mode asks the state another question than restrictive mode; at first it knows
        # no more than how popular the items are.
        self.explorer = nn.Linear(2 * embedding_dim, embedding_dim)
        nn.init.zeros_(self.explorer.weight)
        for table in (self.embedding, self.source_position, self.pattern_position):
            nn.init.normal_(table.weight, std=0.02)

    def encode(self, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode [SOS] s [EOS], shape (rows, length), into (rows, length, K, dim) and its mask."""
        mask = (source != self.pad)[:, None, None, :]
        x = self._embed(source, self.source_position.weight[: source.shape[1]])
        for block in self.encoder:
            x, _ = block(x, mask)
        # K views of the states; without the sum, the states reach the decoder too weak to matter
        return x[:, :, None] + self.projection(x).unflatten(-1, (self.n_memories, -1)), mask

    def choose(self, pattern: torch.Tensor) -> torch.Tensor:
        """Log of pi (equation 3), shape (pairs, K), for [SOS] p [EOS], shape (pairs, length)."""
        real = pattern != self.pad
        x = self.embedding(pattern) + self.pattern_position.weight[: pattern.shape[1]]
        for block in self.promoter:
            x, _ = block(x, real[:, None, None, :])
        mean = (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return functional.log_softmax(self.chooser(mean), dim=-1)

    def summary(self, memory: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Mean of memories over the source's tokens, (rows, length, dim) -> (rows, dim)."""
        real = mask[:, 0, 0, :, None]
        return (memory * real).sum(1) / real.sum(1)

    def decode(
        self,
        pattern: torch.Tensor,
        memory: torch.Tensor,
        memory_mask: torch.Tensor,
        past: list[KeysValues] | None = None,
    ) -> tuple[torch.Tensor, list[KeysValues]]:
        """State after each token of [SOS] p, (pairs, T) -> (pairs, T, dim).

        ``memory`` is what each pattern looks up, (pairs, length, dim). With ``past`` (what this
        returned for the tokens before), ``pattern`` is the next token alone, (pairs, 1).
        """
        start = 0 if past is None else past[0][0].shape[2]
        end = start + pattern.shape[1]
        x = self._embed(pattern, self.pattern_position.weight[start:end])
        kept = []
        for number, block in enumerate(self.decoder):
            x, own = block(
                x,
                causal=past is None,
                memory=memory,
                memory_mask=memory_mask,
                past=None if past is None else past[number],
            )
            kept.append(own)
        return x, kept

    def affinity(self, state: torch.Tensor, summary: torch.Tensor) -> torch.Tensor:
        """Scores of all that can be generated, 2 x (n, dim) -> (n, n_items + 1): items, then EOS.

        In generative mode P(item) is proportional to share(item) * exp(affinity), so the affinity
        says how much likelier than usual an item is: log P(item | state) - log P(item), plus a
        constant.
        """
        asked = self.explorer(torch.cat([state, summary], dim=-1))  # (n, dim)
        return asked @ self.embedding.weight[: self.eos + 1].T

    def _embed(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.embedding(tokens) + positions)
