"""What a neural recommender knows as vectors: items that are alike, and queries for an index."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .._parameters import check_number
from .._tables import codes_of, long_table
from ..ranking import CHUNK_SIZE, top_k
from .training import encode_histories

__all__ = ["EmbeddingSpace"]


class EmbeddingSpace:
    """Queries and neighbours in the space of ``item_embeddings_``, for recommenders with a net."""

    @property
    def item_embeddings_(self) -> np.ndarray:
        """Vectors of the catalogue, float32, (n_items, dim), rows in the order of ``items_``.

        Read-only: on a CPU a view of the net's own weights, so that they are stored once.
        """
        vectors = self.net_.item_matrix().detach().cpu().numpy()
        vectors.flags.writeable = False
        return vectors

    def query_embeddings(self, X: Any) -> np.ndarray:
        """Vector of each history, to look items up by in an index of one's own.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            Histories, as in ``predict``.

        Returns
        -------
        ndarray of float32, shape (n_rows, dim)
            The scores of ``decision_function`` are its inner products with ``item_embeddings_``.
            Only an empty history has no vector: its row is 0, and its scores are ``popularity_``.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> model = SASRec(max_epochs=1, random_state=0).fit([[1, 2, 3], [2, 3, 1]])
        >>> scores = model.query_embeddings([[1, 2]]) @ model.item_embeddings_.T
        >>> np.allclose(scores, model.decision_function([[1, 2]]), atol=1e-5)
        True
        """
        histories = self._histories(X)
        net = self.net_
        return encode_histories(net.module_, histories, self.max_length, net.device).cpu().numpy()

    def similar_items(self, items: Any, k: int = 10) -> Any:
        """Rank the catalogue by the cosine between item embeddings.

        Parameters
        ----------
        items : list of ids
            Known items.
        k : int, default=10
            Neighbours of each, at least 1, cut to the other items that there are.

        Returns
        -------
        DataFrame with the columns "item", "similar", "score" and "rank"
            Item after item, most similar first; an item is not among its own neighbours. As
            ``recommend``, a dict of arrays without pandas.

        Raises
        ------
        NotFittedError, ValueError, TypeError
            Before ``fit``; if ``items`` is no list of known items.

        Examples
        --------
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> model = SASRec(max_epochs=1).fit([["tea", "pot", "cup"], ["pot", "cup"]])
        >>> found = model.similar_items(["tea"], k=2)
        >>> list(found), sorted(found["similar"])
        (['item', 'similar', 'score', 'rank'], ['cup', 'pot'])
        """
        check_is_fitted(self, "items_")
        check_number("k", k, 1, integer=True)
        codes = codes_of("items", items, self.items_)
        if (codes < 0).any():
            at = int(np.argmax(codes < 0))
            raise ValueError(f"items, position {at}: {list(items)[at]!r} was not seen in fit")
        k = min(int(k), len(self.items_) - 1)
        vectors = self.net_.item_matrix().detach().cpu()
        unit = torch.nn.functional.normalize(vectors, dim=1)
        similar = np.empty((len(codes), k), dtype=np.int64)
        scores = np.empty((len(codes), k), dtype=np.float32)
        step = max(1, CHUNK_SIZE // len(unit))
        for start in range(0, len(codes), step):
            part = torch.from_numpy(codes[start : start + step])
            cosine = unit[part] @ unit.T
            cosine[torch.arange(len(part)), part] = -torch.inf
            similar[start : start + step], scores[start : start + step] = top_k(cosine, k)
        return long_table(
            {
                "item": np.repeat(self.items_[codes], k),
                "similar": self.items_[similar.ravel()],
                "score": scores.ravel(),
                "rank": np.tile(np.arange(1, k + 1), len(codes)),
            },
            like=items,
        )
