r"""Compare two results user by user: paired sign-flip permutation of NDCG@20 and Recall@20.

python -m benchmarks.compare Toys-dr4sr-sasrec-ce-matched-patience=10-precision=bfloat16-s0 \
    Toys-backbone-sasrec-ce-patience=10-precision=bfloat16-s0
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from sklearn_dr4sr.metrics import holm, ndcg_of_ranks, sign_flip_test

RANKS = Path(__file__).parent / "results" / "ranks"


def main() -> None:
    """Print mean difference, a 95 % interval and the p-value."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("first")
    parser.add_argument("second")
    args = parser.parse_args()
    first, second = (np.load(RANKS / f"{name}.npz")["rank"] for name in (args.first, args.second))
    gains = {
        "ndcg@20": lambda rank: ndcg_of_ranks(rank.astype(int), 20),
        "recall@20": lambda rank: (rank <= 20).astype(float),
    }
    differences = {metric: gain(first) - gain(second) for metric, gain in gains.items()}
    p_values = [sign_flip_test(difference) for difference in differences.values()]
    for (metric, difference), p, adjusted in zip(
        differences.items(), p_values, holm(p_values), strict=True
    ):
        mean, error = difference.mean(), difference.std() / np.sqrt(len(difference))
        relative = mean / gains[metric](second).mean()
        print(
            f"{metric}: {mean:+.5f} ({relative:+.1%}), 95 % interval {mean - 1.96 * error:+.5f} .. "
            f"{mean + 1.96 * error:+.5f}, p = {p:.4f} (Holm over both metrics: {adjusted:.4f})"
        )


if __name__ == "__main__":
    main()
