"""Pattern growth over flat arrays: mine patterns in sequences, and find known ones in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import numpy as np
from joblib import delayed

from ._parameters import check_number
from ._progress import Timer
from .sequences import Sequences, positions_in, ranges

__all__ = ["match_patterns", "mine_patterns", "mine_shards"]

#: Candidates held at once: some 200 MB of temporaries, whatever the size of the data.
CHUNK_SIZE = 2**22


def mine_patterns(
    sequences: Sequences, window: int, min_support: int, longest: int, verbose: int
) -> tuple[Sequences, np.ndarray]:
    """Grow frequent patterns item by item; return those of two items or more, and supports."""
    levels = list(
        _grow(sequences, window, longest, verbose, lambda *pattern: pattern[-1] >= min_support)
    )
    return _assemble(levels, sequences.items)


def mine_shards(
    shards: list[Sequences], window: int, min_support: int, longest: int, parallel: Any
) -> tuple[Sequences, np.ndarray]:
    """Mine rows that are split into shards over one vocabulary: the same patterns and supports.

    Level by level: each shard counts how the patterns that are frequent in all shards together go
    on, the counts are added up, and what has enough is the next level. A shard begins anew at each
    level, so that nothing but patterns and counts travels.

    Parameters
    ----------
    shards : list of Sequences
    window, min_support, longest : int
        As in :func:`mine_patterns`.
    parallel : joblib.Parallel
    """
    frequent: list[np.ndarray] = []  # of each level the keys, in order: see _extensions
    levels = []
    while len(frequent) < longest:
        counted = parallel(delayed(_extensions)(shard, window, frequent) for shard in shards)
        keys, place = np.unique(np.concatenate([keys for keys, _ in counted]), return_inverse=True)
        support = np.bincount(place, np.concatenate([counts for _, counts in counted]))
        enough = support >= min_support
        if not enough.any():
            break
        frequent.append(keys[enough])
        parents, items = np.divmod(keys[enough], len(shards[0].items))
        levels.append((parents, items, support[enough].astype(np.int64)))
    return _assemble(levels, shards[0].items)


def _extensions(
    sequences: Sequences, window: int, frequent: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Count in one shard how the longest of the patterns given go on.

    A pattern is a key, parent * n_items + item, its parent being a place among the keys of the
    level before; level 1 has the parent 0. ``frequent`` holds the sorted keys of each level.
    Returns the keys of the next level, and in how many rows each is.
    """
    n_items = len(sequences.items)
    places = np.zeros(1, dtype=np.int64)  # of the patterns of the level before, among its keys
    level = 0

    def known(parents: np.ndarray, items: np.ndarray, support: np.ndarray) -> np.ndarray:
        if level == len(frequent):
            return np.ones(len(items), dtype=bool)
        key = places[parents] * n_items + items
        place = np.searchsorted(frequent[level], key).clip(max=len(frequent[level]) - 1)
        return frequent[level][place] == key

    for parents, items, support in _grow(sequences, window, len(frequent) + 1, 0, known):
        key = places[parents] * n_items + items
        if level == len(frequent):
            return key, support
        places = np.searchsorted(frequent[level], key)
        level += 1
    nothing = np.zeros(0, dtype=np.int64)
    return nothing, nothing


def _assemble(
    levels: list[tuple[np.ndarray, np.ndarray, np.ndarray]], items: np.ndarray
) -> tuple[Sequences, np.ndarray]:
    """Write out the patterns of two items or more; level by level: parents, items, supports."""
    nothing = np.zeros(0, dtype=np.int64)  # so that there is something to concatenate
    grown, codes, lengths, supports = None, [nothing], [nothing], [nothing]
    for parents, item, support in levels:
        grown = item[:, None] if grown is None else np.column_stack([grown[parents], item])
        if grown.shape[1] > 1:
            codes.append(grown.ravel())
            lengths.append(np.full(len(grown), grown.shape[1]))
            supports.append(support)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return Sequences.from_codes(np.concatenate(codes), offsets, items), np.concatenate(supports)


def _grow(
    sequences: Sequences, window: int, longest: int, verbose: int, is_frequent: Callable
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the frequent patterns of each length: parents, last items, supports.

    Which ones are, ``is_frequent`` decides by these three of some candidates; a parent is a place
    among the patterns of the length before.

    The occurrences of the patterns of one length lie one after another: those of pattern p are
    ``last[bounds[p] : bounds[p + 1]]``, the positions of its last item, and ``gap``, how far before
    them its first item stands.
    """
    codes = sequences.codes
    walk = _Walk(sequences.lengths, window)
    # Length 1. Positions are ranked by item, then place, so that one number tells both.
    by_item = np.argsort(codes, kind="stable").astype(walk.row.dtype)
    # one number for item and row together
    item_row = np.cumsum(_changes(codes[by_item], walk.row[by_item]), dtype=by_item.dtype)
    support = np.bincount(codes[by_item][_changes(item_row)])
    items = np.flatnonzero(support)
    enough = is_frequent(np.zeros_like(items), items, support[items])
    frequent = np.isin(codes[by_item], items[enough])
    rank = np.empty_like(by_item)
    rank[by_item] = np.where(frequent, np.arange(len(codes)), -1)  # -1: in no pattern
    last = by_item[frequent]
    gap = np.zeros_like(last)
    bounds = np.append(np.flatnonzero(_changes(codes[last])), len(last))
    yield np.zeros_like(items[enough]), items[enough], support[items[enough]]
    length = 1
    while len(last) and length < longest:
        started = perf_counter()
        length += 1
        parts = []
        cost = np.add.reduceat(walk.reach(last, gap), bounds[:-1]) + 1
        timer = Timer(f"[PatternMiner] length {length}", len(cost), verbose)
        for start, stop in _blocks(cost, walk.key_space(CHUNK_SIZE)):
            block = slice(bounds[start], bounds[stop])
            node = np.repeat(np.arange(stop - start), np.diff(bounds[start : stop + 1]))
            source, at, gaps = walk.candidates(last[block], gap[block])
            able = rank[at] >= 0
            key = walk.keys(node[source[able]], rank[at[able]], gaps[able])
            node, place, gaps, new_row = walk.occurrences(key, item_row)
            at = by_item[place]
            # count rows, and keep the occurrences of what is in enough of them
            new_pattern = _changes(node, codes[at])
            pattern = np.cumsum(new_pattern) - 1
            support = np.bincount(pattern[new_row])
            parents, items = node[new_pattern] + start, codes[at[new_pattern]]
            enough = is_frequent(parents, items, support)
            kept = enough[pattern]
            sizes = np.bincount(pattern)[enough]  # occurrences: several in a row count here
            gaps = gaps[kept].astype(gap.dtype)
            found = parents[enough], items[enough], support[enough]
            parts.append((*found, sizes, at[kept], gaps))
            timer(stop)
        parents, items, support, sizes, last, gap = map(np.concatenate, zip(*parts, strict=True))
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        if verbose > 0:
            print(
                f"[PatternMiner] length {length}: {len(items)} patterns, "
                f"{perf_counter() - started:.2f} s"
            )
        yield parents, items, support


def match_patterns(
    sequences: Sequences,
    patterns: Sequences,
    window_size: int | None = None,
    verbose: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Find which rows hold which patterns: ordered, gaps allowed.

    The patterns become a trie and all rows walk it together, an item of the patterns at a time, so
    a row meets only the patterns that it begins to hold.

    Parameters
    ----------
    sequences : Sequences
        Rows to look in; items that no pattern has are passed over but count as positions.
    patterns : Sequences
        Rows to look for, also over another vocabulary. An empty one is found nowhere.
    window_size : int or None, default=None
        First and last item of a pattern lie at most ``window_size - 1`` positions apart; None: at
        any gap.
    verbose : int, default=0
        Above 0: the time left, where it takes long.

    Returns
    -------
    rows, pattern_ids : ndarray of int64, shape (n_matches,)
        Each pair once, in order of rows, then of patterns.

    Raises
    ------
    ValueError
        If ``window_size`` is neither None nor an integer of at least 1.

    Examples
    --------
    >>> from sklearn_dr4sr import Sequences
    >>> from sklearn_dr4sr.mining import match_patterns
    >>> match_patterns(Sequences([[1, 5, 2], [2, 1], [1, 2]]), Sequences([[1, 2]]), window_size=2)
    (array([2]), array([0]))
    """
    if window_size is not None:
        check_number("window_size", window_size, 1, integer=True)
        window_size = int(window_size)
    codes = positions_in(patterns.items, sequences.items)[sequences.codes]
    levels = _trie(patterns)
    nothing = np.zeros(0, dtype=np.int64)
    all_rows, all_ids = [nothing], [nothing]
    widest = int(sequences.lengths.max(initial=0))
    cost = sequences.lengths * min(window_size or widest, widest)
    timer = Timer("[PatternMiner] rows", len(cost), verbose)
    for start, stop in _blocks(cost, CHUNK_SIZE):
        item = codes[sequences.offsets[start] : sequences.offsets[stop]]
        walk = _Walk(sequences.lengths[start:stop], window_size)
        # at the root of the trie every position is a candidate for a pattern's first item
        at = np.arange(len(item))
        node = gap = np.zeros_like(at)
        found = [at[:0]]  # row * n_patterns + pattern
        for edges, ends, ids in levels:
            # the edge (node, item) leads to the node of its own place among the edges
            edge = node * len(patterns.items) + item[at]
            node = np.searchsorted(edges, edge).clip(max=len(edges) - 1)
            exists = (edges[node] == edge) & (item[at] >= 0)
            key = walk.keys(node[exists], at[exists], gap[exists])
            node, at, gap, new_row = walk.occurrences(key, walk.row)
            counts = np.diff(ends)[node[new_row]]  # how many of the patterns end in the node
            rows = np.repeat(walk.row[at[new_row]].astype(np.int64), counts)
            found.append(rows * len(patterns) + ids[ranges(ends[node[new_row]], counts)])
            source, at, gap = walk.candidates(at, gap)
            node = node[source]
        timer(stop)
        rows, pattern_ids = np.divmod(np.sort(np.concatenate(found)), max(1, len(patterns)))
        all_rows.append(rows + start)
        all_ids.append(pattern_ids)
    return np.concatenate(all_rows), np.concatenate(all_ids)


class _Walk:
    """Occurrences in rows laid end to end, and how they go on from a position to a later one.

    An occurrence of a pattern (a ``node``) is the position ``at`` of its last item and the ``gap``
    back to its first. Occurrences travel as one integer key each, (node, place, gap) from high bits
    to low, so that a plain sort, the fastest there is in numpy, brings equal ones together.
    """

    def __init__(self, lengths: np.ndarray, window: int | None) -> None:
        n, widest = int(lengths.sum()), int(lengths.max(initial=0))
        dtype = _index_type(n)
        self.row = np.repeat(np.arange(len(lengths), dtype=dtype), lengths)
        self.row_end = np.repeat(np.cumsum(lengths).astype(dtype), lengths)
        self.window = window if window is not None and window < widest else None
        self.place_bits = n.bit_length()
        self.gap_bits = 0 if self.window is None else self.window.bit_length()

    def key_space(self, most: int) -> int:
        """How many nodes a key has room for, at most ``most``."""
        return min(most, 2 ** (63 - self.place_bits - self.gap_bits))

    def reach(self, at: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """Count the positions after each occurrence that can hold the next item."""
        reach = self.row_end[at] - at
        if self.window is not None:
            reach = np.minimum(reach, self.window - gap)
        return reach - 1

    def candidates(
        self, at: np.ndarray, gap: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """List these positions: the occurrence that each continues, the position, its gap."""
        reach = self.reach(at, gap)
        source = np.repeat(np.arange(len(at)), reach)
        after = ranges(at + 1, reach)
        return source, after, after - (at - gap)[source]

    def keys(self, node: np.ndarray, place: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """Pack occurrences and sort them."""
        key = (node.astype(np.int64) << self.place_bits) | place
        if self.gap_bits:
            key = (key << self.gap_bits) | gap
        key.sort()
        return key

    def occurrences(
        self, key: np.ndarray, unit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Unpack sorted keys, without those that another occurrence makes needless.

        Within a window these are the ones that end where one with a smaller gap does; at any gap
        all but the first in a row, since it leaves the most to follow. ``unit`` maps a place to the
        row (and item) in which a pattern counts once; the last array marks where a new one begins.
        """
        gap = key & ((1 << self.gap_bits) - 1)
        key = key >> self.gap_bits
        node, place = key >> self.place_bits, key & ((1 << self.place_bits) - 1)
        new_row = _changes(node, unit[place])
        kept = _changes(key) if self.gap_bits else new_row
        return node[kept], place[kept], gap[kept], new_row[kept]


def _trie(patterns: Sequences) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Make the trie of the patterns, a triple a level.

    A node of a level is a place in its sorted ``edges``, each parent * n_items + item; the patterns
    ``ids[ends[node] : ends[node + 1]]`` end there.
    """
    alive = np.flatnonzero(patterns.lengths > 0)
    node: Any = 0  # the root, where all of them begin
    levels = []
    while len(alive):
        item = patterns.codes[patterns.offsets[alive] + len(levels)]
        edges, node = np.unique(node * len(patterns.items) + item, return_inverse=True)
        node = node.ravel()
        complete = patterns.lengths[alive] == len(levels) + 1
        order = np.argsort(node[complete])
        ends = np.searchsorted(node[complete][order], np.arange(len(edges) + 1))
        levels.append((edges, ends, alive[complete][order]))
        alive, node = alive[~complete], node[~complete]
    return levels


def _blocks(cost: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Cut what costs so much into runs of at most ``limit`` (a single one may cost more)."""
    ends = np.cumsum(cost, dtype=np.int64)
    start = 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + limit, side="right")))
        yield start, stop
        start = stop


def _index_type(largest: int) -> type:
    """Choose 32 bits, half the memory, where numbers up to the largest fit."""
    return np.int32 if largest < 2**31 else np.int64


def _changes(*columns: np.ndarray) -> np.ndarray:
    """Mark where any of the columns differs from the place before (the first place does)."""
    marks = np.ones(len(columns[0]), dtype=bool)
    marks[1:] = columns[0][1:] != columns[0][:-1]
    for column in columns[1:]:
        marks[1:] |= column[1:] != column[:-1]
    return marks
