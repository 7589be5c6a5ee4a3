"""Personalization: what an epoch of it costs, what its weights find, and what they are worth.

    python -m benchmarks.personalization --data Beauty.txt --cost      # beside the recommender
    python -m benchmarks.personalization --planted                     # 30 % random rows
    python -m benchmarks.personalization --departures                  # the same, one at a time
    python -m benchmarks.personalization --data Beauty.txt --controls --loss ce  # what they gain

Writes results/personalization-*.json beside this file.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.models import Clock, command_line
from benchmarks.run import PAPER, data_name, parse, result_name
from sklearn_dr4sr import DatasetPersonalizer, Sequences
from sklearn_dr4sr.datasets import load_sequences, make_sequences
from sklearn_dr4sr.metrics import ndcg_of_ranks, sign_flip_test
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.personalization import training
from sklearn_dr4sr.personalization.network import PersonalizerNetwork
from sklearn_dr4sr.recommenders import FMLP, GNN, BSARec, CL4SRec, GRU4Rec, SASRec

RESULTS = Path(__file__).parent / "results"

#: For 400 rows, seven batches an epoch: the defaults would leave room for seven upper steps.
SHORT = {"warmup_epochs": 5, "inner_steps": 4}

#: The published grid of the upper learning rate, 1e-3 to 1e-1, in the units of PAPER.
PAPER_RATES = (1.0, 10.0, 100.0)

#: What DatasetPersonalizer does otherwise than the paper, each put back alone.
DEPARTURES = {
    "none": {},
    "features: the state": {"features": ("state",)},
    "K = 3": {"neumann_terms": 3},
    "τ = 10": {"temperature": 10.0},
    "weights not normalised": {"normalize": False},
    "L_dev unbounded": {"robustness": 0},
    "L_dev on items held back": {"validation": "held_back"},
    "the same, unbounded": {"validation": "held_back", "robustness": 0},
    "SGD, rate .1": {"upper_optimizer": "sgd", "upper_lr": 0.1},
}


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


class UpsideDown(PersonalizerNetwork):
    """Starts with weights that fall with the first feature, so that random rows weigh the most."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        first, _, last = self.mlp
        with torch.no_grad():
            first.weight[:, 0].abs_()
            last.weight.abs_()
            last.weight[0].neg_()


def fit(model, X, seed, upside_down=False, **parameters):
    network = UpsideDown if upside_down else PersonalizerNetwork
    with mock.patch.object(training, "PersonalizerNetwork", network):
        return DatasetPersonalizer(model, random_state=seed, **{**SHORT, **parameters}).fit(X)


def margin_alone(fitted, X, bad):
    """AUC of the raw "pattern_margin" of a fitted personalizer, its first feature."""
    width = fitted.network_.mlp[0].in_features
    fitted.network_.mlp = torch.nn.Linear(width, 2)
    with torch.no_grad():
        for parameter in fitted.network_.mlp.parameters():
            parameter.zero_()
        fitted.network_.mlp.weight[0, 0] = 1  # the logits are the feature and 0
    found = separation(fitted.transform(X), bad)
    return {key: found[key] for key in ("auc_targets", "auc_rows")}


def planted(seeds):
    """Learned weights from either start, beside a frozen network and the feature both look at."""
    lines = []

    def note(name, recipe, seed, found):
        lines.append({"model": name, "recipe": recipe, "seed": seed, **found})
        print(lines[-1], flush=True)

    for seed in seeds:
        X, bad = planted_rows(seed=seed)
        for name, model in small_models(seed).items():
            learned = fit(model, X, seed)
            note(name, "learned", seed, separation(learned.transform(X), bad))
            turned = fit(model, X, seed, upside_down=True)
            note(name, "learned, upside down", seed, separation(turned.transform(X), bad))
            frozen = fit(model, X, seed, upper_lr=0.0)
            note(name, "frozen", seed, separation(frozen.transform(X), bad))
            note(name, "pattern_margin alone", seed, margin_alone(frozen, X, bad))
            for rate in PAPER_RATES if seed == 0 else ():
                paper = fit(model, X, seed, **{**PAPER, "upper_lr": rate})
                found = separation(paper.transform(X), bad)
                note(name, f"paper, upper_lr={rate:g}", seed, found)
    return lines


def departures(seeds):
    """Each departure from the paper put back alone, for SASRec."""
    lines = []
    for seed in seeds:
        X, bad = planted_rows(seed=seed)
        model = small_models(seed)["SASRec"]
        for name, parameters in DEPARTURES.items():
            for start in ("plain", "upside down"):
                fitted = fit(model, X, seed, start == "upside down", **parameters)
                found = separation(fitted.transform(X), bad)
                lines.append({"put back": name, "start": start, "seed": seed, **found})
                print(lines[-1], flush=True)
    return lines


# --- cost -----------------------------------------------------------------------------------------


def measure(path, kind, options, epochs):
    """CPU seconds an epoch and peak memory of one of the two; for a process of its own."""
    split = leave_one_out(load_sequences(path))
    clock = Clock()
    model = SASRec(max_epochs=epochs, callbacks=[lambda: clock], device="cpu", random_state=0)
    if kind == "personalizer":
        model = DatasetPersonalizer(model, warmup_epochs=0, random_state=0, **options)
    model.fit(split.train)
    return {
        "kind": kind,
        "cpu_seconds_per_epoch": [round(cpu, 3) for _, cpu in clock.epochs],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # Linux: in kB
    }


def cost(path, options, epochs, repeats=3):
    """Both in turn, each time in a fresh process; ratios of each pair, and of the medians."""
    lines = []
    for _ in range(repeats):
        for kind in ("recommender", "personalizer"):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                lines.append(pool.apply(measure, (path, kind, options, epochs)))
            print(lines[-1], flush=True)
    found = {**options, "lines": lines, "ratios": {}, "pairs": {}}
    for key in ("cpu_seconds_per_epoch", "peak_mb"):
        alone, both = ([np.mean(line[key]) for line in lines[i::2]] for i in (0, 1))
        found["ratios"][key] = statistics.median(both) / statistics.median(alone)
        found["pairs"][key] = [b / a for a, b in zip(alone, both, strict=True)]
    print(found["ratios"], found["pairs"])
    return found


# --- what the weights are worth -------------------------------------------------------------------

#: The recipes of benchmarks.run: what is weighed, how, and the yardsticks of its figure.
CONTROLS = {
    "constant weights": ["dr4sr"],
    "learned, trained jointly": ["dr4sr+"],
    "learned on items held back": ["dr4sr+", "--personalizer", '{"validation": "held_back"}'],
    "learned, retrained": ["dr4sr+", "--weights", "retrained"],
    "learned, permuted, retrained": ["dr4sr+", "--weights", "permuted"],
    "frozen random network": ["dr4sr+", "--personalizer", '{"upper_lr": 0.0}'],
    "learned without noise": ["dr4sr+", "--personalizer", '{"gumbel": false}'],
    "the paper's recipe": ["dr4sr+", "--personalizer", json.dumps(PAPER)],
    "mined .3, regenerated .3": ["dr4sr", "--origin-weights", '{"mined": 0.3, "regenerated": 0.3}'],
    "mined .5, regenerated .1": ["dr4sr", "--origin-weights", '{"mined": 0.5, "regenerated": 0.1}'],
    "mined .1, regenerated .1": ["dr4sr", "--origin-weights", '{"mined": 0.1, "regenerated": 0.1}'],
}


def controls(path, seed, options, table):
    """Train each of the controls that has no result yet; the table is written after each."""
    records = {}
    for variant, recipe in CONTROLS.items():
        print(variant, flush=True)
        command = [sys.executable, "-m", "benchmarks.run", "--data", str(path), "--recipe", *recipe]
        command += ["--first-seed", str(seed), "--steps-per-epoch", "backbone", *options]
        args = parse(command[3:])
        result = RESULTS / f"{result_name(args, args.recipe, seed)}.json"
        if not result.exists():
            subprocess.run(command, check=True)
        records[variant] = json.loads(result.read_text())
        rank = np.load(RESULTS / "ranks" / f"{result.stem}.npz")["rank"].astype(int)
        records[variant]["gain"] = ndcg_of_ranks(rank, 20)
        table.write_text(compared(records))


def compared(records):
    """Each variant beside constant weights, as Markdown."""
    constant = records["constant weights"]["gain"]
    lines = ["| weights | R@20 | N@20 | beside constant | p | validation N@20 |", "|---" * 6 + "|"]
    for variant, record in records.items():
        relative = record["gain"].mean() / constant.mean() - 1
        p = sign_flip_test(record["gain"] - constant) if variant != "constant weights" else 1
        test = record["test"]
        lines.append(
            f"| {variant} | {test['recall@20']:.4f} | {test['ndcg@20']:.4f} | {relative:+.1%} "
            f"| {p:.4f} | {record['validation_ndcg@20']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="text file: user, then items in order of time")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--departures", action="store_true")
    parser.add_argument(
        "--controls",
        action="store_true",
        help="of the weights; all further options go to benchmarks.run",
    )
    parser.add_argument("--hypergradient", default="finite_difference")
    parser.add_argument("--neumann-terms", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    args, options = parser.parse_known_args()
    if options and not args.controls:
        parser.error(f"unknown: {' '.join(options)}")
    if (args.cost or args.controls) and args.data is None:
        parser.error("--data is needed")
    if args.controls:
        name = data_name(args.data)
        controls(args.data, 0, options, RESULTS / f"personalization-{name}.md")
    results = {}
    if args.planted:
        results["planted"] = planted(range(args.seeds))
    if args.departures:
        results["departures"] = departures(range(args.seeds))
    if args.cost:
        chosen = {"hypergradient": args.hypergradient, "neumann_terms": args.neumann_terms}
        usual = chosen == {"hypergradient": "finite_difference", "neumann_terms": 0}
        name = "cost" if usual else f"cost-{args.hypergradient}-{args.neumann_terms}"
        results[name] = cost(args.data, chosen, args.epochs)
    for name, found in results.items():
        path = RESULTS / f"personalization-{name}.json"
        record = {"command": command_line("personalization"), "found": found}
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
