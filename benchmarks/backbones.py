"""The models that recipes train: how they are set, what they are called and kept as."""

from __future__ import annotations

import argparse
import fcntl
from pathlib import Path

import joblib

from sklearn_dr4sr.recommenders import FMLP, GNN, BSARec, CL4SRec, GRU4Rec, SASRec

MODELS = {m.__name__: m for m in (SASRec, GRU4Rec, FMLP, GNN, CL4SRec, BSARec)}
#: The strong setting of a cross-entropy SASRec.
STRONG = {("SASRec", "ce"): {"hidden_dim": 256, "input_norm": True}}
CACHE = Path(__file__).parent / "cache"
#: Of a training: what is in a name where it differs.
DEFAULTS = {
    "max_epochs": 1000,
    "patience": 20,
    "batch_size": 256,
    "precision": "float32",
    "device": "auto",
}


def departures(given: dict) -> list[str]:
    """What a training departs from the defaults in; "auto" mostly means "cpu"."""
    changed = [
        key for key, usual in DEFAULTS.items() if given.get(key, usual) not in (usual, "cpu")
    ]
    return ["quick"] * given.get("quick", False) + [f"{key}={given[key]}" for key in changed]


def as_parts(given: dict) -> list[str]:
    """What is set, as parts of a name."""
    return [f"{key}={value}" for key, value in given.items()]


def checkpoints(args, *parts: str) -> str:
    """Where a long fit leaves its state: what is killed goes on from there."""
    return str(args.cache.joinpath("checkpoints", *parts))


def recommender(seed: int, args):
    """What a recipe's data trains, unfitted."""
    return MODELS[args.model](
        loss=args.loss,
        max_epochs=args.max_epochs,
        patience=args.patience,
        steps_per_epoch="histories" if args.steps_per_epoch == "backbone" else None,
        batch_size=args.batch_size,
        device=args.device,
        random_state=seed,
        verbose=1,
        precision=args.precision,
        **{**STRONG.get((args.model, args.loss), {}), **args.set},
    )


def backbone_name(args, seed: int) -> str:
    """What a backbone is kept as: the same for every recipe that is taught by it."""
    parts = [args.name, args.model.lower(), args.loss, *as_parts(args.set), *departures(vars(args))]
    parts += [f"s{seed}"]
    parts += ["matched"] * (args.steps_per_epoch == "backbone")  # more than a pass of a small log
    return "-".join(parts)


def teaching_backbones(args, seed: int) -> dict[str, tuple]:
    """What is set for each backbone that teaches, and its seed.

    ``--teachers`` of the backbone's own kind, and one of each kind beside it, which has what
    ``--set`` says of parameters that it knows, and what is given for it.
    """
    found = {f"model{s}": (args, s) for s in range(seed, seed + args.teachers)}
    for name, given in args.co_teachers.items():
        known = MODELS[name]().get_params()
        shared = {key: value for key, value in args.set.items() if key in known}
        own = argparse.Namespace(**{**vars(args), "model": name, "set": shared | given})
        found[f"{name.lower()}{seed}"] = (own, seed)
    return found


def co_teachers(args) -> dict:
    """The kinds of teachers beside the backbone's, for names of results."""
    found = {"beside": "+".join(args.co_teachers)} if args.co_teachers else {}
    for name, given in args.co_teachers.items():
        found |= {f"{name}.{key}": value for key, value in given.items()}
    return found


def kept(path: Path, stages, what: str, fit):
    """What is fitted once and kept with its seconds, for all that need it."""
    path.parent.mkdir(exist_ok=True, parents=True)
    with open(path.with_name(f"{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two runs that need it, one trains and one waits
        if not path.exists():
            fitted = stages(what, fit)
            keep(path, fitted, stages.seconds[what])
        fitted, stages.seconds[what] = joblib.load(path)
    return fitted


def keep(path: Path, fitted, seconds: float) -> None:
    """Write for :func:`kept`, whole or not at all."""
    path.parent.mkdir(exist_ok=True, parents=True)
    part = path.with_name(f"{path.name}.part")
    joblib.dump((fitted, seconds), part)
    part.replace(path)
