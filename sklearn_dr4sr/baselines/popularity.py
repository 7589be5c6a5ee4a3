"""The most frequent items for everybody."""

from __future__ import annotations

import numpy as np
import torch

from ..dataset import SequenceDataset, item_counts
from ..ranking import BaseRecommender
from ..sequences import Sequences

__all__ = ["Popularity"]


class Popularity(BaseRecommender):
    """Rank items by how often they occur in the training patterns.

    Parameters
    ----------
    exclude_seen : bool, default=True
        Keep the items of a history out of its ranking.

    Attributes
    ----------
    popularity_ : ndarray of float64, shape (n_items,)
        Occurrences in the patterns, each times its weight where the data set has weights.
    items_ : ndarray, shape (n_items,)
        The catalogue, sorted.
    n_features_in_ : int
        Width of the zero-padded matrix that was fitted; absent after ragged input.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import Popularity
    >>> Popularity().fit([[1, 2], [1, 2], [3, 2]]).predict([[2], []], k=2)
    array([[1, 3],
           [2, 1]])
    """

    def __init__(self, *, exclude_seen: bool = True) -> None:
        self.exclude_seen = exclude_seen

    def _fit(self, dataset: SequenceDataset, target: np.ndarray | None) -> None:
        self.popularity_ = item_counts(dataset)

    def _scores(self, histories: Sequences) -> torch.Tensor:
        return torch.from_numpy(np.tile(self.popularity_, (len(histories), 1)))
