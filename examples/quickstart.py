"""The whole path: sequences in, a regenerated data set and rankings out, beside plain yardsticks.

python examples/quickstart.py                      # made data, no download
python examples/quickstart.py --data Beauty.txt    # a line: user, then items in order of time
"""

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import DatasetRegenerator, PatternMiner
from sklearn_dr4sr.baselines import MarkovChain, Popularity, SequentialRules
from sklearn_dr4sr.datasets import load_sequences, make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import SASRec
from sklearn_dr4sr.recommenders.losses import LOSSES

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="text file of sequences; default: made ones")
    parser.add_argument(
        "--loss", default="ce", choices=LOSSES, help='"ce" is strong, "bce" the paper\'s'
    )
    parser.add_argument("--max-epochs", type=int, default=40)
    parser.add_argument("--pretraining-epochs", type=int, help="default: 40, or 10 on made data")
    parser.add_argument("--window-size", type=int, default=5)
    parser.add_argument("--save", help="write the regenerated data set to this text file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", type=int, default=0)
    args = parser.parse_args()
    if args.save and (Path(args.save).is_dir() or not Path(args.save).parent.is_dir()):
        parser.error(f"--save: expected a file in an existing folder, got {args.save!r}")

    if args.data:
        sequences, pretraining = load_sequences(args.data), args.pretraining_epochs or 40
    else:
        sequences = make_sequences(1500, 400, random_state=args.seed)
        pretraining = args.pretraining_epochs or 10
    split = leave_one_out(sequences)
    print(f"{sequences}; training on {split.train}\n")

    # Both neural models validate after the same number of optimizer steps, so that neither the
    # larger data set nor the smaller one trains or waits longer than the other.
    steps = -(-len(split.train) // 256)

    def sasrec() -> SASRec:
        return SASRec(
            loss=args.loss,
            hidden_dim=256,
            input_norm=True,
            max_epochs=args.max_epochs,
            patience=10,
            steps_per_epoch=steps,
            random_state=args.seed,
            verbose=args.verbose,
        )

    dr4sr = Pipeline(
        [
            ("mine", PatternMiner(window_size=args.window_size, min_support=2)),
            (
                "regenerate",
                DatasetRegenerator(
                    max_epochs=pretraining, random_state=args.seed, verbose=args.verbose
                ),
            ),
            ("recommend", sasrec()),
        ]
    )
    scorer = ranking_scorer(*METRICS)
    print(f"{'':16s}" + "".join(f"{name:>11s}" for name in METRICS) + "   fit s  rank s")
    models = {
        "Popularity": Popularity(),
        "Markov": MarkovChain(),
        "Sequential rules": SequentialRules(),
        "Backbone": sasrec(),
        "DR4SR": dr4sr,
    }
    for name, model in models.items():
        start = time.perf_counter()
        if model is dr4sr:  # stage by stage, to see where the time goes
            seconds, data = {}, split.train
            for stage, step in dr4sr.steps[:-1]:
                at = time.perf_counter()
                data = step.fit_transform(data)
                len(data.patterns)  # patterns are made when they are first read
                seconds[stage] = time.perf_counter() - at
            at = time.perf_counter()
            dr4sr[-1].fit(data, split.validation)
            seconds["recommend"] = time.perf_counter() - at
        else:
            model.fit(split.train, split.validation)
        fitted = time.perf_counter()
        scores = scorer(model, split.history, split.test)
        ranked = time.perf_counter()
        row = "".join(f"{scores[metric]:11.4f}" for metric in METRICS)
        print(f"{name:16s}{row}{fitted - start:8.1f}{ranked - fitted:8.1f}", flush=True)

    stages = ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items())
    counted = zip(*np.unique(data.origin, return_counts=True), strict=True)
    origins = ", ".join(f"{count} {origin}" for origin, count in counted)
    print(f"\nDR4SR stages: {stages}")
    print(f"Regenerated data set: {len(data.patterns)} patterns ({origins})")
    best = dr4sr.predict(split.history[:1], k=5)[0].tolist()
    print(f"Recommended after the first history: {best}")
    if args.save:
        data.to_text(args.save)
        print(f"Written to {args.save}")


if __name__ == "__main__":
    main()
