r"""Compare two results user by user: paired sign-flip permutation of NDCG@20 and Recall@20.

    python -m benchmarks.compare Toys-dr4sr-sasrec-ce-matched-patience=10-precision=bfloat16-s0 \
        Toys-backbone-sasrec-ce-patience=10-precision=bfloat16-s0

A name with ``*`` stands for the seeds of one run: a user's figure is then their mean.

    python -m benchmarks.compare Beauty-mined-sasrec-ce-matched-patience=10-precision=bfloat16-s0 \
        'Beauty-backbone-sasrec-ce-patience=10-precision=bfloat16-s*'
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np

from sklearn_dr4sr.metrics import holm, ndcg_of_ranks, sign_flip_test

RANKS = Path(__file__).parent / "results" / "ranks"
GAINS = {
    "ndcg@20": lambda rank: ndcg_of_ranks(rank.astype(int), 20),
    "recall@20": lambda rank: (rank <= 20).astype(float),
}


def ranks_of(name: str, folder: Path = RANKS) -> np.ndarray:
    """Ranks of the held-out items in the trainings that a name stands for, (n, n_users)."""
    paths = sorted(folder.glob(name.removesuffix(".json") + ".npz"))
    if not paths:
        raise SystemExit(f"{name}: no such run in {folder}")
    runs = {re.sub(r"-s\d+(-again)?$", "", path.stem) for path in paths}
    if len(runs) > 1:
        raise SystemExit(f"{name}: of several runs, not of one: {', '.join(sorted(runs))}")
    for path in paths:
        print(f"  {path.stem}")
    return np.stack([np.load(path)["rank"] for path in paths])


def main() -> None:
    """Print mean difference, a 95 % interval and the p-value."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", help="a result, its JSON's name without the ending; or a pattern")
    parser.add_argument("second", help="what it is compared with")
    args = parser.parse_args()
    first = ranks_of(args.first)
    print("beside")
    second = ranks_of(args.second)
    differences = {
        metric: gain(first).mean(axis=0) - gain(second).mean(axis=0)
        for metric, gain in GAINS.items()
    }
    p_values = [sign_flip_test(difference) for difference in differences.values()]
    for (metric, difference), p, adjusted in zip(
        differences.items(), p_values, holm(p_values), strict=True
    ):
        mean, error = difference.mean(), difference.std() / np.sqrt(len(difference))
        relative = mean / GAINS[metric](second).mean()
        print(
            f"{metric}: {mean:+.5f} ({relative:+.1%}), 95 % interval {mean - 1.96 * error:+.5f} .. "
            f"{mean + 1.96 * error:+.5f}, p = {p:.4f} (Holm over both metrics: {adjusted:.4f})"
        )


if __name__ == "__main__":
    main()
