"""Compare two results user by user: paired sign-flip permutation of NDCG@20 and Recall@20.

python -m benchmarks.compare Beauty-mined-sasrec-ce-matched-s0 Beauty-backbone-sasrec-ce-s0
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from sklearn_dr4sr.metrics import ndcg_of_ranks

RANKS = Path(__file__).parent / "results" / "ranks"


def sign_flip(difference: np.ndarray, n: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of a mean difference, under random signs of the users' differences."""
    rng = np.random.default_rng(seed)
    difference = difference[difference != 0]  # a zero has no sign
    observed = abs(difference.sum())
    flipped = [abs((difference * rng.choice([-1.0, 1.0], len(difference))).sum()) for _ in range(n)]
    return (1 + np.sum(np.array(flipped) >= observed - 1e-12)) / (n + 1)


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
    for metric, gain in gains.items():
        difference = gain(first) - gain(second)
        mean, error = difference.mean(), difference.std() / np.sqrt(len(difference))
        relative = mean / gain(second).mean()
        print(
            f"{metric}: {mean:+.5f} ({relative:+.1%}), 95 % interval {mean - 1.96 * error:+.5f} .. "
            f"{mean + 1.96 * error:+.5f}, p = {sign_flip(difference):.4f}"
        )


if __name__ == "__main__":
    main()
