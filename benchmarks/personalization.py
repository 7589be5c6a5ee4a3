"""Personalization: what an epoch of it costs, what its weights find, and what they are worth.

    python -m benchmarks.personalization --data Beauty.txt --cost      # beside the recommender
    python -m benchmarks.personalization --planted                     # 30 % random rows
    python -m benchmarks.personalization --data Beauty.txt --controls  # DR4SR+ beside its controls

Writes results/personalization-*.json beside this file.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from sklearn_dr4sr import DatasetPersonalizer, PatternMiner, SequenceDataset, Sequences
from sklearn_dr4sr.dataset import ORIGINS
from sklearn_dr4sr.datasets import load_sequences, make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import FMLP, GNN, BSARec, CL4SRec, GRU4Rec, SASRec

RESULTS = Path(__file__).parent / "results"
SCORER = ranking_scorer("recall@10", "recall@20", "ndcg@10", "ndcg@20")

#: The paper's recipe (its code's step size): what the defaults of DatasetPersonalizer depart from.
PAPER = {
    "features": ("state",),
    "hypergradient": "neumann",
    "neumann_terms": 3,
    "neumann_step": 1e-3,
    "temperature": 10,
    "normalize": False,
    "validation": "resampled",
    "robustness": 0,
    "upper_optimizer": "sgd",
    "upper_lr": 1e-3,
}
RECIPES = {"default": {}, "paper": PAPER}


# --- planted corruption ---------------------------------------------------------------------------


def planted_rows(n_rows=400, n_items=60, share=0.3, seed=0):
    """Rows of a grammar, and which of them were replaced by random items."""
    good = make_sequences(n_rows, n_items, noise=0.05, mean_length=8, random_state=seed)
    rng = np.random.default_rng(seed)
    bad = rng.uniform(size=n_rows) < share
    codes = good.codes.copy()
    for row in np.flatnonzero(bad):
        part = slice(good.offsets[row], good.offsets[row + 1])
        codes[part] = rng.choice(len(good.items), good.lengths[row], replace=False)
    return Sequences.from_codes(codes, good.offsets, good.items), bad


def separation(data, bad):
    """AUC of learned weight against corruption: of single targets, and of the means of rows."""
    target = np.ones(len(data.weights), dtype=bool)
    target[data.patterns.offsets[:-1]] = False  # a first item is no target
    rows, weights = data.patterns.rows[target], data.weights[target]
    mean = np.bincount(rows, weights) / np.bincount(rows)
    return {
        "auc_targets": roc_auc_score(~bad[rows], weights),
        "auc_rows": roc_auc_score(~bad, mean),
        "weight_std": float(weights.std()),
    }


def small_models(seed=0, max_epochs=40):
    shared = {"loss": "ce", "lr": 5e-3, "batch_size": 64, "max_epochs": max_epochs}
    shared |= {"embedding_dim": 16, "hidden_dim": 32, "dropout": 0.1, "random_state": seed}
    models = {"SASRec": SASRec, "BSARec": BSARec, "GNN": GNN, "CL4SRec": CL4SRec}
    built = {name: model(n_layers=1, **shared) for name, model in models.items()}
    built["GRU4Rec"] = GRU4Rec(n_layers=1, **shared)
    built["FMLP"] = FMLP(n_layers=1, mode="causal", **shared)
    return built


def planted(seeds):
    lines = []
    for seed in range(seeds):
        X, bad = planted_rows(seed=seed)
        for name, model in small_models(seed).items():
            for recipe, parameters in RECIPES.items():
                personalizer = DatasetPersonalizer(
                    model, warmup_epochs=5, inner_steps=4, random_state=seed, **parameters
                ).fit(X)
                found = separation(personalizer.transform(X), bad)
                lines.append({"model": name, "recipe": recipe, "seed": seed, **found})
                print(lines[-1], flush=True)
    return lines


# --- cost -----------------------------------------------------------------------------------------


def measure(path, kind, hypergradient, epochs):
    """Seconds an epoch and peak memory of one of the two; for a process of its own."""
    split = leave_one_out(load_sequences(path))
    model = SASRec(max_epochs=epochs, random_state=0)
    if kind == "personalizer":
        model = DatasetPersonalizer(
            model, warmup_epochs=0, hypergradient=hypergradient, random_state=0
        )
    model.fit(split.train)
    history = getattr(model, "recommender_", model).history_
    return {
        "kind": kind,
        "seconds_per_epoch": [epoch["dur"] for epoch in history],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # Linux: in kB
    }


def cost(path, hypergradient, epochs, repeats=3):
    """Both in turn, each time in a fresh process."""
    lines = []
    for _ in range(repeats):
        for kind in ("recommender", "personalizer"):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                lines.append(pool.apply(measure, (path, kind, hypergradient, epochs)))
            print(lines[-1], flush=True)

    def median(kind, key):
        values = [np.mean(line[key]) for line in lines if line["kind"] == kind]
        return statistics.median(values)

    ratios = {
        key: median("personalizer", key) / median("recommender", key)
        for key in ("seconds_per_epoch", "peak_mb")
    }
    print(ratios)
    return {"hypergradient": hypergradient, "lines": lines, "ratios": ratios}


# --- what the weights are worth -------------------------------------------------------------------


def weights_by_origin(data, original=1.0, mined=1.0, regenerated=1.0):
    """One weight an origin: three scalars, to be chosen on validation. The baseline to beat."""
    scalar = np.array([original, mined, regenerated, 1.0], dtype=np.float32)
    assert len(scalar) == len(ORIGINS)
    return SequenceDataset(
        data.histories, data.table, scalar[data.table.origin[data.patterns.rows]]
    )


def permuted(data, seed):
    """The same weights, dealt out at random."""
    weights = np.random.default_rng(seed).permutation(data.weights)
    return SequenceDataset(data.histories, data.table, weights)


def controls(path, seed, max_epochs, patience):
    """A recommender on learned weights, beside one on each of the controls, validated alike."""
    split = leave_one_out(load_sequences(path))
    mined = PatternMiner().fit_transform(split.train)
    data = SequenceDataset(mined.histories, mined.table)
    model = SASRec(loss="ce", max_epochs=max_epochs, patience=patience, random_state=seed)

    def personalize(**parameters):
        personalizer = DatasetPersonalizer(model, random_state=seed, **parameters)
        return personalizer.fit(data, split.validation)

    learned = personalize()
    weighted = learned.transform(data)
    variants = {
        "constant weights": data,
        "learned weights": weighted,
        "permuted weights": permuted(weighted, seed),
        "frozen random network": personalize(upper_lr=0.0).transform(data),
        "learned without noise": personalize(gumbel=False).transform(data),
        "the paper's recipe": personalize(**PAPER).transform(data),
        "mined at .5": weights_by_origin(data, mined=0.5),
    }
    lines = [{"variant": "jointly trained", **SCORER(learned, split.history, split.test)}]
    for name, variant in variants.items():
        fitted = SASRec(**model.get_params()).fit(variant, split.validation)
        lines.append({"variant": name, **SCORER(fitted, split.history, split.test)})
        print(lines[-1], flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="text file: user, then items in order of time")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--hypergradient", default="finite_difference")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--max-epochs", type=int, default=200)
    parser.add_argument("--patience", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    if (args.cost or args.controls) and args.data is None:
        parser.error("--data is needed")
    results = {}
    if args.planted:
        results["planted"] = planted(args.seeds)
    if args.cost:
        results["cost"] = cost(args.data, args.hypergradient, args.epochs)
    if args.controls:
        results["controls"] = [
            {"seed": seed, "lines": controls(args.data, seed, args.max_epochs, args.patience)}
            for seed in range(args.seeds)
        ]
    for name, found in results.items():
        path = RESULTS / f"personalization-{name}.json"
        path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
