"""The data-centric baselines and the data operators on a real data set, one JSON each.

    python -m benchmarks.data_centric --data Beauty.txt --model infinite_ae
    python -m benchmarks.data_centric --data Beauty.txt --model melt --seed 0
    python -m benchmarks.data_centric --data Beauty.txt --model sliding_window repeat_padding

Models: ``infinite_ae`` (λ chosen on validation), ``ease``, ``melt`` (SASRec pre-trained, and kept
in ``cache/``, then both branches; the hyper-parameters of Beauty, as those of Toys are unpublished:
``--user-weight``, ``--item-weight``), and the operators ``passthrough``, ``sliding_window``,
``repeat_padding``, ``crop_mask_reorder``, ``random_subsequences``, each before the recommender that
``--loss`` names.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

import sklearn_dr4sr
from benchmarks.backbones import CACHE, kept
from benchmarks.mining import peak_mb
from benchmarks.models import command_line
from benchmarks.run import Stages, forget_peak
from sklearn_dr4sr.augmentation import (
    CropMaskReorder,
    RandomSubsequences,
    RepeatPadding,
    SlidingWindow,
)
from sklearn_dr4sr.baselines import EASE, MELT, InfiniteAutoencoder
from sklearn_dr4sr.datasets import load_sequences
from sklearn_dr4sr.metrics import ndcg_of_ranks, ranking_scorer
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import FMLP, SASRec
from sklearn_dr4sr.sequences import positions_in

RESULTS = Path(__file__).parent / "results"
METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
#: R@10, R@20, N@10, N@20 of the paper (Table 3).
PAPER = {
    ("infinite_ae", "Beauty"): (0.0478, 0.0661, 0.0262, 0.0308),
    ("infinite_ae", "Toys_and_Games"): (0.0450, 0.0593, 0.0268, 0.0304),
    ("melt", "Beauty"): (0.0577, 0.0879, 0.0303, 0.0379),
    ("melt", "Toys_and_Games"): (0.0709, 0.0987, 0.0401, 0.0473),
}
CHUNK = 1000  # rows that are scored at once
#: Options that are in the name of a result where they differ from the default.
IN_NAMES = ("l2", "max_epochs", "patience", "melt_epochs")
IN_NAMES += ("base_patience", "user_weight", "item_weight", "user_quantile", "item_quantile")
OPERATORS = {
    "passthrough": lambda seed: "passthrough",
    "sliding_window": lambda seed: SlidingWindow(),
    "repeat_padding": lambda seed: RepeatPadding(random_state=seed),
    "crop_mask_reorder": lambda seed: CropMaskReorder(random_state=seed),
    "random_subsequences": lambda seed: RandomSubsequences(n_patterns=2, random_state=seed),
}


def pretrained(base, split, args):
    """The recommender that MELT starts from, kept for every setting of MELT on these data."""
    digest = split.train.describe()["hash"][:12]
    parts = [args.name, digest, args.recommender.lower(), args.loss, "melt-base"]
    parts += [f"max_epochs={args.max_epochs}", f"patience={args.base_patience}", f"s{args.seed}"]
    path = CACHE / f"{'-'.join(parts)}.joblib"
    base.set_params(patience=args.base_patience)
    fit = partial(base.fit, split.train, split.validation)
    return FrozenEstimator(kept(path, Stages(), "pretrain", fit))


def make(name, split, args):
    """The estimator of a name."""
    if name == "infinite_ae":
        l2 = "auto" if args.l2 is None else args.l2
        return InfiniteAutoencoder(l2=l2, n_jobs=args.n_jobs, random_state=args.seed)
    if name == "ease":
        return EASE()
    shared = {
        "loss": args.loss,
        "device": args.device,
        "random_state": args.seed,
        "verbose": 1,
        "max_epochs": args.max_epochs,
        "patience": args.patience,
    }
    base = {"SASRec": SASRec, "FMLP": FMLP}[args.recommender](**shared)
    if name == "melt":
        return MELT(
            pretrained(base, split, args),
            user_weight=args.user_weight,
            item_weight=args.item_weight,
            user_quantile=args.user_quantile,
            item_quantile=args.item_quantile,
            max_epochs=args.melt_epochs,
            patience=args.patience,
            random_state=args.seed,
            verbose=1,
        )
    return Pipeline([("data", OPERATORS[name](args.seed)), ("recommend", base)])


def by_popularity(model, split, threshold, seed) -> dict:
    """How items rank, among all and (as in MELT's paper) among 100 drawn ones.

    The tail are those that occur no more often than ``threshold``.
    """
    counts = np.bincount(split.train.recode(model.items_).codes, minlength=len(model.items_))
    histories, wanted = split.history.recode(model.items_), positions_in(model.items_, split.test)
    rng, n_drawn = np.random.default_rng(seed), min(100, len(counts))
    ranks = []  # among all, and among those drawn
    for start in range(0, len(histories), CHUNK):
        part = histories[start : start + CHUNK]
        scores = model.decision_function(split.history[start : start + CHUNK])
        scores[part.rows, part.codes] = -np.inf
        target = wanted[start : start + CHUNK]
        own = np.take_along_axis(scores, target[:, None], 1)
        np.put_along_axis(scores, target[:, None], -np.inf, 1)  # it is no rival of its own
        luck = rng.random(scores.shape) - np.isneginf(scores)
        drawn = np.argpartition(luck, -n_drawn)[:, -n_drawn:]
        rivals = np.take_along_axis(scores, drawn, 1)
        ranks.append([1 + (scores >= own).sum(1), 1 + (rivals >= own).sum(1)])
    among_all, among_drawn = np.concatenate(ranks, axis=1)
    tail = counts[wanted] <= threshold
    known = wanted >= 0
    found = {}
    for group, rows in (("all", known), ("head", known & ~tail), ("tail", known & tail)):
        hit = among_drawn[rows] <= 10
        found[group] = {
            "users": int(rows.sum()),
            "ndcg@20": float(ndcg_of_ranks(among_all[rows], 20).mean()),
            "recall@10 of 100": float(hit.mean()),
            "ndcg@10 of 100": float(ndcg_of_ranks(among_drawn[rows], 10).mean()),
        }
    return found


def measure(name, split, args):
    """Fit on the training part, choose on validation, test once."""
    model = make(name, split, args)
    forget_peak(args.device)
    seconds, cpu = time.perf_counter(), time.process_time()
    model.fit(split.train, split.validation)
    fitted = time.perf_counter() - seconds, time.process_time() - cpu
    seconds, cpu = time.perf_counter(), time.process_time()
    test = ranking_scorer(*METRICS)(model, split.history, split.test)
    record = {
        "model": name,
        "data": args.name,
        "test": {metric: round(test[metric], 5) for metric in METRICS},
        "fit_seconds": fitted[0],
        "fit_cpu_seconds": fitted[1],
        "rank_seconds": time.perf_counter() - seconds,
        "rank_cpu_seconds": time.process_time() - cpu,
        "peak_mb": peak_mb(),
    }
    if name == "melt":
        for key, ranker in (("items", model), ("items_before", model.recommender.estimator)):
            record[key] = by_popularity(ranker, split, model.item_threshold_, args.seed)
    if (name, args.name) in PAPER:
        record["paper"] = dict(zip(METRICS, PAPER[name, args.name], strict=True))
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    for attribute in ("l2_", "validation_ndcg_", "solver_", "n_iterations_", "n_steps_"):
        if hasattr(last, attribute):
            record[attribute.rstrip("_")] = getattr(last, attribute)
    for attribute in ("best_epoch_", "user_threshold_", "item_threshold_", "history_"):
        if hasattr(last, attribute):
            record[attribute.rstrip("_")] = getattr(last, attribute)
    if isinstance(model, Pipeline) and model.steps[0][1] != "passthrough":
        record["n_patterns"] = len(model.steps[0][1].transform(split.train).patterns)
    return record


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a file of the paper's data")
    parser.add_argument(
        "--model", nargs="+", required=True, choices=["infinite_ae", "ease", "melt", *OPERATORS]
    )
    parser.add_argument("--recommender", choices=["SASRec", "FMLP"], default="SASRec")
    parser.add_argument("--loss", default="bce")
    parser.add_argument("--max-epochs", type=int, default=1000)
    parser.add_argument("--patience", type=int, default=20)
    parser.add_argument("--base-patience", type=int, default=20, help="of what MELT starts from")
    parser.add_argument("--melt-epochs", type=int, default=180)
    parser.add_argument("--user-weight", type=float, default=0.1)
    parser.add_argument("--item-weight", type=float, default=0.4)
    parser.add_argument("--user-quantile", type=float, default=0.8, help="share of tail users")
    parser.add_argument("--item-quantile", type=float, default=0.78, help="of tail items")
    parser.add_argument("--l2", type=float, nargs="+", help="candidates of infinite_ae")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.name = args.data.stem
    split = leave_one_out(load_sequences(args.data))
    RESULTS.mkdir(exist_ok=True)
    for name in args.model:
        record = measure(name, split, args)
        record |= {
            "parameters": {
                key: value for key, value in vars(args).items() if key not in ("data", "model")
            },
            "command": command_line("data_centric"),
            "date": datetime.date.today().isoformat(),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "sklearn_dr4sr": sklearn_dr4sr.__version__,
            },
        }
        label = (
            name if name in ("infinite_ae", "ease") else f"{name}-{args.recommender}-{args.loss}"
        )
        parts = [f"data_centric-{args.name}-{label}"]
        parts += [
            f"{key}={getattr(args, key)}"
            for key in IN_NAMES
            if getattr(args, key) != parser.get_default(key)
        ]
        path = RESULTS / f"{'-'.join(parts)}-s{args.seed}.json"
        path.write_text(json.dumps(record, indent=1, default=float) + "\n")
        print(path.name, record["test"], flush=True)


if __name__ == "__main__":
    main()
