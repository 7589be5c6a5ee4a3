"""Retrieve candidates with an index of vectors in place of scoring the whole catalogue.

pip install -e ".[integrations]" && python examples/index_search.py
python examples/index_search.py --index voyager --items 20000

The score of an item is an inner product, ``query_embeddings(X) @ item_embeddings_.T``: what faiss,
Voyager, Milvus or a database with vectors searches by. faiss's ``IndexFlatIP`` is exact, and finds
what ``predict`` does; Voyager's graph is approximate, and shows what that costs.
"""

import argparse
import time

import numpy as np

from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.recommenders import SASRec


def faiss_index(vectors):
    """Exact inner products; ``(queries, k) -> (n_queries, k)`` rows of ``vectors``."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    return lambda queries, k: index.search(queries, k)[1]


def voyager_index(vectors):
    """A graph of near neighbours: approximate."""
    import voyager

    index = voyager.Index(voyager.Space.InnerProduct, num_dimensions=vectors.shape[1])
    index.add_items(np.array(vectors))  # it takes no read-only ones
    return lambda queries, k: index.query(queries, k)[0].astype(np.int64)


INDEXES = {"faiss": faiss_index, "voyager": voyager_index}


def recommend(model, search, histories, k):
    """Rank by an index; what a history holds is filtered, so that much more is asked for."""
    most = max(map(len, histories))
    found = model.items_[search(model.query_embeddings(histories), k + most)]
    return [
        [item for item in row if item not in seen][:k]
        for row, seen in zip(found.tolist(), map(set, histories), strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--index", choices=INDEXES, default="faiss")
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    sequences = make_sequences(4 * args.items, args.items, random_state=0)
    model = SASRec(loss="ce", max_epochs=args.epochs, random_state=0).fit(sequences)
    histories = [list(row) for row in sequences[:1000]]
    search = INDEXES[args.index](model.item_embeddings_)
    started = time.perf_counter()
    found = recommend(model, search, histories, k=20)
    print(f"{args.index}: {time.perf_counter() - started:.2f} s for {len(histories)} users")
    exact = model.predict(histories, k=20).tolist()
    share = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(found, exact, strict=True)])
    print(f"{share:.1%} of what predict ranks among the first 20")


if __name__ == "__main__":
    main()
