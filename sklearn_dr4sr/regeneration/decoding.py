"""Hybrid inference (4.2.3): K patterns of each source, from its own items or from the catalogue."""

from __future__ import annotations

import numpy as np
import torch

from .._memory import OutOfMemoryError, is_out_of_memory, limit_on
from .._progress import Timer
from ..sequences import Sequences
from .network import Regenerator
from .pairs import source_tokens

__all__ = ["decode"]

#: Tokens of encoder memory held at once, over all K memories: on a CPU what its cache holds.
CHUNK_TOKENS = {"cpu": 2**14, "cuda": 2**16}
#: Scores of the catalogue held at once: on a CPU so few that they stay in its cache, in a third of
#: the time.
SCORES = {"cpu": 2**20, "cuda": 2**27}


@torch.inference_mode()
def decode(
    module: Regenerator,
    histories: Sequences,
    *,
    generative_probability: float,
    temperature: float = 0.0,
    seed: int = 0,
    verbose: int = 0,
) -> tuple[Sequences, np.ndarray, np.ndarray, np.ndarray]:
    """Decode every memory of every source.

    Parameters
    ----------
    module : Regenerator
    histories : Sequences
        Sources, in the module's vocabulary; the last ``module.max_length`` items are used.
    generative_probability : float
        gamma: probability that a token is chosen from the whole catalogue.
    temperature : float
        0: the likeliest token; above: drawn from softmax(logits / temperature).
    seed : int
        Of the draws. They are a function of the seed, the source's items, the memory and the
        position alone, so neither the order of the rows nor the chunks they come in matter.
    verbose : int
        Above 0: lines with the time left, where it takes long.

    Returns
    -------
    patterns : Sequences of n_rows * K rows
        All that was decoded, empty ones and repeats included; row by row, memory by memory.
    row, memory : ndarray of int64, shape (n_rows * K,)
    generative : ndarray of bool, shape (n_pattern_items,)
        Whether an item was chosen in generative mode, in the order of ``patterns.codes``.
    """
    module.eval()
    sources = histories.last(module.max_length)
    n_rows, n_memories, n_steps = len(sources), module.n_memories, module.max_pattern_length
    decoded = np.full((n_rows, n_memories, n_steps), -1, dtype=np.int32)
    generative = np.zeros(decoded.shape, dtype=bool)
    lengths = sources.lengths
    order = np.argsort(-lengths, kind="stable")  # longest first
    order = order[lengths[order] > 0]
    done = np.cumsum(lengths[order] + 2)  # tokens
    timer = Timer("[DatasetRegenerator] decoding", int(done[-1]) if len(done) else 0, verbose)
    start, most = 0, limit_on(CHUNK_TOKENS, module.embedding.weight.device)
    while start < len(order):  # rows of similar length together, so that little is padding
        width = int(lengths[order[start]]) + 2
        stop = start + max(1, most // (n_memories * width))
        rows = order[start:stop]
        part = sources[rows]
        coins, draws = _draws(part, n_memories, n_steps, seed)
        generative[rows] = coins < generative_probability
        try:
            decoded[rows] = _decode_chunk(module, part, generative[rows], draws, temperature)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise OutOfMemoryError(
                    f"row {rows[0]}: out of memory for this row alone; lower max_length, or "
                    f"diversity_factor, or use device='cpu' ({error})"
                ) from error
            most = n_memories * width * (len(rows) // 2)
            continue
        start = min(stop, len(order))
        timer(int(done[start - 1]))
    flat = decoded.reshape(n_rows * n_memories, n_steps)
    ends = np.cumsum((flat >= 0).sum(axis=1))
    patterns = Sequences.from_codes(flat[flat >= 0], np.concatenate([[0], ends]), histories.items)
    row = np.repeat(np.arange(n_rows), n_memories)
    memory = np.tile(np.arange(n_memories), n_rows)
    return patterns, row, memory, generative.reshape(flat.shape)[flat >= 0]


def _decode_chunk(
    module: Regenerator,
    sources: Sequences,
    generative: np.ndarray,
    draws: np.ndarray,
    temperature: float,
) -> np.ndarray:
    """Decode sources together: (rows, K, steps) of item codes, -1 after the end."""
    device = module.embedding.weight.device
    n_rows, n_memories, n_steps = generative.shape
    tokens, candidates = source_tokens(sources.padded(), module.eos)
    memories, mask = module.encode(tokens.to(device))  # (rows, length, K, dim)
    state = _State(module, memories, mask, candidates.to(device))
    generative_at = torch.from_numpy(generative.reshape(-1, n_steps)).to(device)
    draw_at = torch.from_numpy(draws.reshape(-1, n_steps)).to(device)
    out = torch.full((n_rows * n_memories, n_steps), -1, device=device)
    for step in range(n_steps):
        hidden = state.advance()
        free = generative_at[state.alive, step].nonzero()[:, 0]
        chosen = state.from_source(hidden, temperature, draw_at[state.alive, step])
        if len(free):
            draw = draw_at[state.alive[free], step]
            chosen[free] = state.from_catalogue(hidden[free], free, temperature, draw)
        goes_on = chosen != module.eos
        out[state.alive[goes_on], step] = chosen[goes_on]
        state.keep(goes_on, chosen)
        if len(state.alive) == 0:
            break
    return out.view(n_rows, n_memories, n_steps).cpu().numpy()


class _State:
    """What is kept between steps for the patterns that have not ended.

    A pattern is one (source, memory); ``alive`` holds their numbers.
    """

    def __init__(
        self,
        module: Regenerator,
        memories: torch.Tensor,
        mask: torch.Tensor,
        candidates: torch.Tensor,
    ) -> None:
        n_rows, _, n_memories, _ = memories.shape
        self.module = module
        self.alive = torch.arange(n_rows * n_memories, device=memories.device)
        self.memory = memories.transpose(1, 2).flatten(0, 1)  # (rows * K, length, dim)
        self.mask = mask.repeat_interleave(n_memories, dim=0)
        self.summary = module.summary(self.memory, self.mask)
        self.candidates = candidates  # (rows, candidates)
        self.row = self.alive // n_memories
        # what may still be chosen: of the candidates, each once
        self.open = (candidates != module.pad)[self.row]
        self.past = None
        self.last = torch.full_like(self.alive, module.sos)[:, None]
        self.generated = self.last[:, :0]

    def advance(self) -> torch.Tensor:
        """Run the decoder on the last token of each pattern: (alive, dim)."""
        hidden, self.past = self.module.decode(self.last, self.memory, self.mask, self.past)
        return hidden[:, 0]

    def from_source(
        self, hidden: torch.Tensor, temperature: float, draw: torch.Tensor
    ) -> torch.Tensor:
        """Choose in restrictive mode: one of the source's items that the pattern lacks, or EOS."""
        choices = self.candidates[self.row]  # (alive, candidates)
        scores = (self.module.embedding(self.candidates)[self.row] @ hidden[:, :, None])[..., 0]
        scores = scores.masked_fill(~self.open, -torch.inf)
        return choices.gather(1, _pick(scores, temperature, draw)[:, None])[:, 0]

    def from_catalogue(
        self, hidden: torch.Tensor, which: torch.Tensor, temperature: float, draw: torch.Tensor
    ) -> torch.Tensor:
        """Choose in generative mode: any item that the pattern lacks, or EOS.

        EOS where it is likelier than all items together, else the item of the highest affinity.
        """
        share = self.module.log_share.exp()
        block = max(1, limit_on(SCORES, hidden.device) // len(share))
        chosen = torch.empty_like(which)
        for part in torch.arange(len(which), device=hidden.device).split(block):
            at = which[part]
            scores = self.module.affinity(hidden[part], self.summary[at])  # (block, n_items + 1)
            scores.scatter_(1, self.generated[at], -torch.inf)
            items, end = scores[:, :-1], scores[:, -1]
            item = _pick(items, temperature, draw[part])
            most = items.amax(dim=1, keepdim=True).clamp(min=torch.finfo(items.dtype).min)
            together = most[:, 0] + ((items - most).exp_() @ share).log()  # logsumexp, of P(item)
            chosen[part] = torch.where(end > together, self.module.eos, item)
        return chosen

    def keep(self, goes_on: torch.Tensor, chosen: torch.Tensor) -> None:
        """Append the chosen tokens and drop the patterns that have ended."""
        if not goes_on.all():  # what is kept of each is large: not copied where all go on
            at = goes_on.nonzero()[:, 0]
            chosen = chosen[at]
            self.alive, self.row, self.mask = self.alive[at], self.row[at], self.mask[at]
            self.summary, self.open = self.summary[at], self.open[at]
            self.generated = self.generated[at]
            self.memory = self.memory[at]
            self.past = [(key[at], value[at]) for key, value in self.past]
        self.open = self.open & (self.candidates[self.row] != chosen[:, None])
        self.last = chosen[:, None]
        self.generated = torch.cat([self.generated, self.last], dim=1)


def _pick(scores: torch.Tensor, temperature: float, draw: torch.Tensor) -> torch.Tensor:
    """Column of the highest score, or of one drawn by the uniform number ``draw``."""
    if temperature == 0:
        return scores.argmax(dim=1)
    below = torch.softmax(scores.double() / temperature, dim=1).cumsum(dim=1)
    # the last column with any probability where rounding left the sum below the draw
    below = below / below[:, -1:]
    return torch.searchsorted(below, draw[:, None], right=True)[:, 0].clamp(max=below.shape[1] - 1)


def _draws(
    sources: Sequences, n_memories: int, n_steps: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Two uniform numbers for each (source, memory, step), each (rows, K, steps) in [0, 1).

    A counter-based generator (splitmix64), keyed by the seed and the items of the source.
    """
    with np.errstate(over="ignore"):
        place = np.arange(len(sources.codes)) - sources.offsets[:-1][sources.rows]
        terms = _mix((sources.codes.astype(np.uint64) << np.uint64(20)) + place.astype(np.uint64))
        key = np.zeros(len(sources), dtype=np.uint64)
        np.add.at(key, sources.rows, terms)
        key = _mix(key + _mix(np.array([seed], dtype=np.uint64)))
        count = np.arange(2 * n_memories * n_steps, dtype=np.uint64)
        bits = _mix(key[:, None] + _mix(count + np.uint64(1)))
    uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    both = uniform.reshape(len(sources), 2, n_memories, n_steps)
    return both[:, 0], both[:, 1]


def _mix(x: np.ndarray) -> np.ndarray:
    """Finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
