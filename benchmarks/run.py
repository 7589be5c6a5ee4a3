"""Train one recipe on a real data set and write what came out, one JSON a seed.

    python -m benchmarks.run --data Beauty.txt --recipe backbone --loss bce --seeds 1

Recipes: ``baselines`` (counting rules), ``backbone`` (the model alone), ``twice`` (every sequence
twice), ``pattern`` (mined patterns alone), ``mined`` (original + mined), ``random`` (original +
random subsequences, as many and as long as the patterns that dr4sr adds), ``sliding`` (original +
windows of the miner's size), ``prefixes`` (each prefix a sample: with ``--set '{"targets":
"last"}'``), ``shuffled`` (original + seven copies in nearly its order), ``reversed`` (original +
itself backwards), ``dr4sr`` (original + mined + regenerated), ``dr4sr+``
(the same, weighted by a personalizer that is trained jointly; ``--weights`` has its controls),
``taught`` (histories continued by a teacher, ``--teachers`` backbones, one of each of
``--co-teachers``, and from ``--generation`` 2 on the earlier students, blended with rules or
stacked with ``--teacher stack``: TeacherContinuation; ``--student`` sets what the student has
otherwise than they).
``--steps-per-epoch backbone`` validates every recipe after as many optimizer steps as the backbone
takes in an epoch, so that patience means the same number of steps for all. ``test_with_rules`` in
the JSON is the model blended with sequential rules at ranking. ``--table`` prints all results.
A run that was killed goes on after its last whole epoch when it is started again. ``--quick`` tries
a recipe on few rows and epochs, with results and pre-trainings of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import platform
import shutil
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import scipy
import sklearn
import skorch
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

import sklearn_dr4sr
from benchmarks.backbones import (
    CACHE,
    DEFAULTS,
    MODELS,
    as_parts,
    backbone_name,
    checkpoints,
    co_teachers,
    departures,
    keep,
    kept,
    recommender,
)
from benchmarks.mining import peak_mb
from benchmarks.recipes import RECIPES, UNTRAINED, blend, rankers, student_name, training_data
from sklearn_dr4sr import DatasetPersonalizer, SequenceDataset
from sklearn_dr4sr._torch import resolve_device
from sklearn_dr4sr.baselines import MarkovChain, Popularity, SequentialRules, UserKNN
from sklearn_dr4sr.dataset import ORIGINS
from sklearn_dr4sr.datasets import load_sequences
from sklearn_dr4sr.metrics import ndcg_of_ranks, ranks
from sklearn_dr4sr.model_selection import LeaveOneOutSplit, leave_one_out

RESULTS = Path(__file__).parent / "results"
#: What the paper calls its data sets, and their files.
FILES = {
    "Beauty": "Beauty.txt",
    "Toys": "Toys_and_Games.txt",
    "Sports": "Sports_and_Outdoors.txt",
    "Yelp": "Yelp.txt",
    "Gowalla": "Gowalla.txt",
    "Amazon-book": "Amazon-book.txt",
}
#: Window sizes of the paper (A.4): 5 for Beauty, 10 for the others.
WINDOW = {"Beauty": 5}
#: Parameters that a recommender, a personalizer and a teacher's continuation have alike.
SHARED = ("hidden_dim", "temperature")
#: A trial: the first rows, few epochs, upper steps at once, and no file of the real runs.
QUICK_ROWS = 1000
QUICK = {"max_epochs": 2, "results": CACHE / "quick", "cache": CACHE / "quick" / "cache"}
QUICK_PERSONALIZER = {"warmup_epochs": 1, "inner_steps": 2}


#: The paper's personalizer, as its code runs it. The code leaves the factor η = 1e-3 before the
#: Neumann sum out, so that its hypergradients are 1,000 times ours. A step of SGD is
#: lr (gradient + decay * network): its lr = decay = 1e-3 and its clip at 10 are 1, 1e-6 and 1e-2.
PAPER = {
    "features": ["state"],
    "hypergradient": "neumann",
    "neumann_terms": 3,
    "neumann_step": 1e-3,
    "temperature": 10,
    "normalize": False,
    "validation": "resampled",
    "robustness": 0,
    "weighted_origins": ["original", "regenerated"],
    "upper_optimizer": "sgd",
    "upper_lr": 1.0,
    "upper_weight_decay": 1e-6,
    "gradient_clip": 1e-2,
}


class Stages:
    """Seconds of each named stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name, function, *args):
        start = time.perf_counter()
        value = function(*args)
        self.seconds[name] = round(time.perf_counter() - start, 2)
        return value


def evaluate(model, split) -> tuple[dict, np.ndarray]:
    """Test metrics, and the rank of each row's test item among the first 20 (21: below)."""
    known = np.array([item is not None for item in split.test])
    rank = ranks(split.test[known], model.predict(split.history[known], k=20), 20)
    metrics = {}
    for k in (10, 20):
        metrics[f"recall@{k}"] = round(float((rank <= k).mean()), 5)
        metrics[f"ndcg@{k}"] = round(float(ndcg_of_ranks(rank, k).mean()), 5)
    return metrics, rank


def write(folder: Path, name: str, record: dict, rank: np.ndarray) -> None:
    """Write the ranks for paired tests, then the JSON, at once: where it is, all is."""
    (folder / "ranks").mkdir(exist_ok=True, parents=True)
    np.savez_compressed(folder / "ranks" / f"{name}.npz", rank=rank.astype(np.int8))
    part = folder / f"{name}.json.part"
    part.write_text(json.dumps(record, indent=1, default=float) + "\n")
    part.replace(folder / f"{name}.json")
    print(name, record["test"], flush=True)


def describe(args) -> dict:
    """What a reader needs to run it again."""
    return {
        "command": "python -m benchmarks.run "
        + " ".join(args.data.name if word == str(args.data) else word for word in sys.argv[1:]),
        "date": datetime.date.today().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "sklearn_dr4sr": sklearn_dr4sr.__version__,
            **{m.__name__: m.__version__ for m in (torch, sklearn, skorch, np, scipy)},
        },
        "machine": f"{platform.machine()}, {torch.get_num_threads()} torch threads",
    }


def describe_device(device: str) -> dict:
    """Name of the accelerator and the most of its memory that was taken, where there is one."""
    if resolve_device(device).type != "cuda":
        return {}
    peak = torch.cuda.max_memory_allocated(device if device != "auto" else None)
    return {"device": torch.cuda.get_device_name(), "peak_device_memory_mb": peak // 2**20}


def forget_peak(device: str) -> None:
    """Begin the peaks of memory anew, of the process (on Linux) and of its device."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if resolve_device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device if device != "auto" else None)


def run_baselines(split, args) -> None:
    """Fit and rank the counting rules."""
    for model in (Popularity(), MarkovChain(), SequentialRules(), UserKNN()):
        stages = Stages()
        stages("fit", model.fit, split.train)
        metrics, rank = stages("evaluate", evaluate, model, split)
        name = f"{args.name}-{type(model).__name__.lower()}"
        record = {"dataset": args.name, "recipe": type(model).__name__, "test": metrics}
        write(args.results, name, {**record, "seconds": stages.seconds, **describe(args)}, rank)


def settings(args) -> dict:
    """What is set beyond the recipe's defaults."""
    weights = {"weights": args.weights} if args.weights != "joint" else {}
    weights |= {"teachers": args.teachers} if args.teachers > 1 else {}
    weights |= co_teachers(args)
    weights |= {"generation": args.generation} if args.generation > 1 else {}
    weights |= {"teacher": args.teacher} if args.teacher != "blend" else {}
    personalizer, paper = args.personalizer, {}
    if personalizer.keys() >= PAPER.keys():
        paper = {"recipe": "paper"}
        personalizer = {k: v for k, v in personalizer.items() if k not in PAPER or PAPER[k] != v}
    learned = {**paper, **named("personalizer", personalizer)}
    continuation = named("continuation", args.continuation)
    student = {f"student.{key}": value for key, value in args.student.items()}
    return {**args.set, **learned, **args.origin_weights, **continuation, **weights, **student}


def named(group: str, parameters: dict) -> dict:
    """Parameters by names that those of no other group have."""
    return {f"{group}.{key}" if key in SHARED else key: v for key, v in parameters.items()}


def weighted_by_origin(data: SequenceDataset, weights: dict) -> SequenceDataset:
    """One weight an origin (1 where none is given): the yardstick of learned weights."""
    if not weights:
        return data
    scalar = np.array([weights.get(origin, 1.0) for origin in ORIGINS], dtype=np.float32)
    return SequenceDataset(
        data.histories, data.table, scalar[data.table.origin[data.patterns.rows]]
    )


def personalized(data: SequenceDataset, model, validation, seed: int, args, stages: Stages):
    """The recommender on learned weights: trained jointly, anew, or anew with them dealt out."""
    result = result_name(args, "dr4sr+", seed)
    joint = result_name(argparse.Namespace(**{**vars(args), "weights": "joint"}), "dr4sr+", seed)
    path = args.cache / f"{joint}.joblib"

    def fit():
        parameters = {**(QUICK_PERSONALIZER if args.quick else {}), **args.personalizer}
        folder = checkpoints(args, result, "personalize")
        recommender = clone(model).set_params(checkpoint_dir=folder)
        personalizer = DatasetPersonalizer(recommender, random_state=seed, **parameters)
        personalizer.fit(data, validation)
        return personalizer.recommender_, personalizer.transform(data)

    if args.weights == "joint":
        recommender, weighted = stages("train", fit)
        keep(path, (recommender, weighted), stages.seconds["train"])
        folder = args.results / "weights"
        folder.mkdir(exist_ok=True, parents=True)
        joblib.dump(weighted, folder / f"{joint}.joblib")
        return recommender
    _, weighted = kept(path, stages, "personalize", fit)
    if args.weights == "permuted":
        dealt = np.random.default_rng(seed).permutation(weighted.weights)
        weighted = SequenceDataset(data.histories, data.table, dealt)
    return stages("train", model.fit, weighted, validation)


def result_name(args, recipe: str, seed: int) -> str:
    """What the files of a run are called: all that departs from the defaults is in it."""
    parts = [args.name, recipe, args.model.lower(), args.loss]
    parts += ["matched"] * (args.steps_per_epoch == "backbone")
    parts += as_parts(settings(args))
    if recipe in ("random", "dr4sr", "dr4sr+"):
        parts += [f"K{args.diversity_factor}"] * (args.diversity_factor != 5)
        parts += [f"g{args.generative_probability:g}"] * (args.generative_probability != 0.1)
    return "-".join([*parts, *departures(vars(args)), f"s{seed}"])


def run(split, recipe: str, seed: int, args) -> None:
    """Train one recipe with one seed."""
    stages, name = Stages(), result_name(args, recipe, seed)
    window = WINDOW.get(args.name, 10)
    model = recommender(seed, args)
    data, notes = training_data(recipe, split, window, seed, stages, args)
    data = weighted_by_origin(data, args.origin_weights)
    model.set_params(checkpoint_dir=checkpoints(args, name, "train"))
    forget_peak(args.device)  # what was fitted for the data is not the recipe's
    if recipe == "taught":
        model.set_params(**args.student)
    if recipe == "dr4sr+":
        model = personalized(data, model, split.validation, seed, args, stages)
    else:
        stages("train", model.fit, data, split.validation)
    # of a training that was taken up again the clock saw only the end
    before = round(sum(epoch["dur"] for epoch in model.history_), 2)
    stages.seconds["train"] = max(stages.seconds["train"], before)
    if recipe == "backbone":
        path = args.cache / f"{backbone_name(args, seed)}.joblib"
        keep(path, model, stages.seconds["train"])
    metrics, rank = stages("evaluate", evaluate, model, split)
    own = [("model", FrozenEstimator(model)), ("rules", SequentialRules())]
    blended, _ = evaluate(blend(own).fit(split.train), split)
    if recipe == "taught":
        path = args.cache / f"{student_name(args, seed, args.generation)}.joblib"
        keep(path, model, stages.seconds["train"])
        for who, ranker in rankers(split, seed, stages, args, student=model).items():
            notes[f"test_of_{who}"], _ = evaluate(ranker, split)
    epochs = model.history_
    record = {
        "dataset": args.name,
        "recipe": recipe,
        "model": args.model,
        "loss": args.loss,
        "seed": seed,
        "matched_steps": args.steps_per_epoch == "backbone",
        "diversity_factor": args.diversity_factor,
        "generative_probability": args.generative_probability,
        "settings": settings(args),
        "test": metrics,
        "test_with_rules": blended,
        "validation_ndcg@20": round(epochs[model.best_epoch_ - 1]["valid_ndcg"], 5),
        "epochs": len(epochs),
        "best_epoch": model.best_epoch_,
        "steps": model.n_steps_,
        "best_step": model.n_steps_ // len(epochs) * model.best_epoch_,
        "patterns": len(data.patterns),
        "mean_length": round(float(data.patterns.lengths.mean()), 3),
        "seconds": stages.seconds,
        "epoch_seconds": [round(e["dur"], 2) for e in epochs],
        "validation": [round(e["valid_ndcg"], 5) for e in epochs],
        "peak_memory_mb": round(peak_mb()),
        **describe_device(args.device),
        "parameters": {
            k: v for k, v in model.get_params().items() if not callable(v) and k != "checkpoint_dir"
        },
        **notes,
        **describe(args),
    }
    write(args.results, name, record, rank)
    shutil.rmtree(checkpoints(args, name), ignore_errors=True)


def recipe_of(record: dict) -> str:
    """The recipe of a result and what departs from its defaults."""
    parts = [record["recipe"]]
    if record["recipe"] in ("random", "dr4sr", "dr4sr+"):
        k, gamma = record.get("diversity_factor", 5), record.get("generative_probability", 0.1)
        parts += [f"K={k}"] * (k != 5) + [f"γ={gamma:g}"] * (gamma != 0.1)
    parts += [f"{k}={v}" for k, v in record.get("settings", {}).items()]
    return ", ".join([*parts, *departures(record.get("parameters", {}))])


def table(results: Path = RESULTS) -> str:
    """All results in a folder as Markdown, the mean over seeds."""
    cells: dict[tuple, list[dict]] = {}
    for path in sorted(results.glob("*.json")):
        record = json.loads(path.read_text())
        if "recipe" in record and "test" in record:
            key = (record["dataset"], record.get("model", ""), record.get("loss", ""))
            key += (record.get("matched_steps", False),)
            cells.setdefault((*key, recipe_of(record)), []).append(record)
    lines = [
        "| data | model | loss | matched steps | recipe | R@10 | R@20 | N@10 | N@20 | trainings "
        "| best step | training s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (dataset, model, loss, matched, recipe), records in sorted(cells.items()):
        names = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
        mean = [f"{np.mean([r['test'][n] for r in records]):.4f}" for n in names]
        step = f"{np.mean([r.get('best_step', 0) for r in records]):.0f}" if loss else ""
        seconds = f"{np.mean([r['seconds'].get('train', 0) for r in records]):.0f}" if loss else ""
        row = [dataset, model, loss, "yes" if matched else "", recipe, *mean, str(len(records))]
        lines.append("| " + " | ".join([*row, step, seconds]) + " |")
    return "\n".join(lines)


def data_name(path: Path) -> str:
    """Name results of a data set: as the paper does, else by its file."""
    return next((name for name, file in FILES.items() if file == path.name), path.stem)


def load_split(args) -> LeaveOneOutSplit:
    """Split the data, or its first rows; the cache must hold what was fitted on the same."""
    sequences = load_sequences(args.data)
    if args.quick:
        sequences = sequences[:QUICK_ROWS].compact()
    digest, known = sequences.describe()["hash"], args.cache / f"{args.name}.hash"
    if known.exists() and known.read_text() != digest:
        raise SystemExit(
            f"{args.cache} holds fits on another file that is called {args.name}: pass another "
            "--cache, and --results"
        )
    known.parent.mkdir(exist_ok=True, parents=True)
    known.write_text(digest)
    return leave_one_out(sequences)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data", type=Path, help="text file: user, then items in order of time")
    parser.add_argument("--recipe", choices=("baselines", *RECIPES), default="backbone")
    parser.add_argument("--loss", default="bce")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--max-epochs", type=int, default=DEFAULTS["max_epochs"])
    parser.add_argument("--patience", type=int, default=DEFAULTS["patience"])
    parser.add_argument("--batch-size", type=int, default=DEFAULTS["batch_size"])
    parser.add_argument("--steps-per-epoch", choices=("data", "backbone"), default="data")
    parser.add_argument("--model", choices=sorted(MODELS), default="SASRec")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default=DEFAULTS["precision"]
    )
    parser.add_argument("--device", default=DEFAULTS["device"])
    parser.add_argument("--diversity-factor", type=int, default=5, help="K")
    parser.add_argument("--generative-probability", type=float, default=0.1, help="gamma")
    parser.add_argument("--set", type=json.loads, default={}, help="model parameters as JSON")
    parser.add_argument("--personalizer", type=json.loads, default={}, help="its parameters, JSON")
    parser.add_argument("--continuation", type=json.loads, default={}, help="of taught, as JSON")
    parser.add_argument(
        "--teachers", type=int, default=1, help="of taught: backbones of so many seeds"
    )
    parser.add_argument(
        "--co-teachers",
        type=json.loads,
        default={},
        help="of taught: a backbone of each model beside them, "
        'as JSON, such as {"FMLP": {"embedding_dim": 64}}; else it has what --set says',
    )
    parser.add_argument(
        "--teacher",
        choices=["blend", "auto", "stack", *UNTRAINED],
        default="blend",
        help="of taught: backbones and rules blended, by weights chosen on validation, or "
        "stacked with neighbours too; controls: the rules alone, what is popular",
    )
    parser.add_argument(
        "--generation", type=int, default=1, help="of taught: from 2 on earlier students teach too"
    )
    parser.add_argument(
        "--student", type=json.loads, default={}, help="of taught: what it has that teachers lack"
    )
    parser.add_argument("--origin-weights", type=json.loads, default={}, help="of origins, as JSON")
    parser.add_argument(
        "--weights",
        choices=("joint", "retrained", "permuted"),
        default="joint",
        help="dr4sr+: the jointly trained model, or a new one on its weights, or on them shuffled",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of what is fitted once")
    parser.add_argument("--quick", action="store_true", help="few rows and epochs, to try it")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args(words)
    if args.quick:
        parser.set_defaults(**QUICK)
        args = parser.parse_args(words)
    if args.data is None and not args.table:
        parser.error("--data is needed, or --table")
    if args.teacher in ("stack", *UNTRAINED) and args.generation > 1:
        parser.error(f"--teacher {args.teacher} has no further --generation")
    if unknown := args.co_teachers.keys() - MODELS.keys():
        parser.error(f"--co-teachers: {sorted(unknown)} not in {sorted(MODELS)}")
    args.name = args.data and data_name(args.data)
    return args


def main() -> None:
    """Run what the command line says."""
    args = parse()
    if args.table:
        print(table(args.results))
        return
    split = load_split(args)
    if args.recipe == "baselines":
        run_baselines(split, args)
        return
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        run(split, args.recipe, seed, args)


if __name__ == "__main__":
    main()
