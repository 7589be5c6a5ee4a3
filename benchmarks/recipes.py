"""What each recipe of ``benchmarks.run`` trains on."""

from __future__ import annotations

import fcntl
from functools import partial
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sklearn_dr4sr import DatasetRegenerator, PatternMiner, SequenceDataset, Sequences
from sklearn_dr4sr.augmentation import RandomSubsequences, SlidingWindow, TeacherContinuation
from sklearn_dr4sr.baselines import MarkovChain, Popularity, SequentialRules, UserKNN
from sklearn_dr4sr.dataset import PatternTable
from sklearn_dr4sr.model_selection import LeaveOneOutSplit, leave_one_out
from sklearn_dr4sr.recommenders import RankBlend, RankStack

RECIPES = (
    "backbone",
    "twice",
    "pattern",
    "mined",
    "random",
    "sliding",
    "prefixes",
    "shuffled",
    "reversed",
    "dr4sr",
    "dr4sr+",
    "taught",
)
#: Teachers that are controls: what copies continued without a network are worth.
UNTRAINED = {"rules": SequentialRules, "popularity": Popularity}
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


def checkpoints(args, *parts: str) -> str:
    """Where a long fit leaves its state: what is killed goes on from there."""
    return str(args.cache.joinpath("checkpoints", *parts))


def original_and(histories: Sequences, extra: PatternTable) -> SequenceDataset:
    """Stack the original sequences and further patterns, each row's together."""
    original = PatternTable.of(histories, np.arange(len(histories)))
    return SequenceDataset(histories, PatternTable.concatenate([original, extra]))


def shuffled(histories: Sequences, copies: int, reach: float, seed: int) -> PatternTable:
    """Copies of each history in nearly its order: item i goes where i + U(0, reach) sorts."""
    rng = np.random.default_rng(seed)
    place = np.arange(len(histories.codes), dtype=float)
    parts = []
    for _ in range(copies):
        moved = place + rng.uniform(0, reach, len(place))
        codes = histories.codes[np.lexsort((moved, histories.rows))]
        again = Sequences.from_codes(codes, histories.offsets, histories.items)
        parts.append(PatternTable.of(again, np.arange(len(histories)), "augmented"))
    return PatternTable.concatenate(parts)


def reversed_order(histories: Sequences) -> PatternTable:
    """Each history backwards."""
    order = np.lexsort((-np.arange(len(histories.codes)), histories.rows))
    again = Sequences.from_codes(histories.codes[order], histories.offsets, histories.items)
    return PatternTable.of(again, np.arange(len(histories)), "augmented")


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


def regenerated(train: Sequences, window: int, seed: int, stages, args):
    """X' and its regenerator; both are kept, for every model."""
    data = stages("mine", PatternMiner(window_size=window).fit_transform, train)

    parts = [args.name, f"w{window}", f"K{args.diversity_factor}"]
    parts += [
        part for part in departures(vars(args)) if part.startswith("device")
    ]  # it reads no other
    name = "-".join([*parts, f"s{seed}"])

    def fit():
        return DatasetRegenerator(
            args.diversity_factor,
            random_state=seed,
            verbose=1,
            device=args.device,
            checkpoint_dir=checkpoints(args, name),
            **({"max_epochs": 1, "item_embedding": "random"} if args.quick else {}),
        ).fit(data)

    regenerator = kept(args.cache / f"{name}.joblib", stages, "pretrain", fit)

    def decode():
        regenerator.set_params(generative_probability=args.generative_probability)
        made = regenerator.transform(data)
        return SequenceDataset(made.histories, made.table)  # without what made it

    path = args.cache / f"{name}-g{args.generative_probability:g}-data.joblib"
    return kept(path, stages, "regenerate", decode), regenerator


def backbone_name(args, seed: int) -> str:
    """What a backbone is kept as: the same for every recipe that is taught by it."""
    chosen = [f"{key}={value}" for key, value in args.set.items()]
    parts = [args.name, args.model.lower(), args.loss, *chosen, *departures(vars(args))]
    return "-".join([*parts, f"s{seed}"])


def taught_name(args, seed: int, generation: int) -> str:
    """What the data of a generation of students is kept as."""
    chosen = [f"{key}={value}" for key, value in args.continuation.items()]
    parts = ["matched"] * (args.steps_per_epoch == "backbone")
    parts += [f"taught{generation}", f"by{args.teachers}", *chosen]
    parts += [args.teacher] * (args.teacher != "blend")
    parts += student_settings(args) if generation > 1 else []  # of the students that teach too
    return "-".join([backbone_name(args, seed), *parts])


def student_name(args, seed: int, generation: int) -> str:
    """What a student is kept as."""
    own = student_settings(args) if generation == 1 else []
    return "-".join([taught_name(args, seed, generation), *own])


def student_settings(args) -> list[str]:
    """What a student has otherwise than its teachers."""
    return [f"student.{key}={value}" for key, value in args.student.items()]


def teachers(split: LeaveOneOutSplit, seed: int, stages, args, model, generation: int) -> list:
    """Named models that teach a generation of students, and the rules.

    Backbones of as many seeds as asked for, and the students of the generations before; each is
    trained once and kept. Of the controls what they are called for alone.
    """
    if args.teacher in UNTRAINED:
        return [(args.teacher, UNTRAINED[args.teacher]())]
    named = []
    for s in range(seed, seed + args.teachers):
        name = backbone_name(args, s)
        untrained = clone(model).set_params(random_state=s, checkpoint_dir=checkpoints(args, name))
        fit = partial(untrained.fit, split.train, split.validation)
        backbone = kept(args.cache / f"{name}.joblib", stages, f"teach{s}", fit)
        named.append((f"model{s}", FrozenEstimator(backbone)))
    for g in range(1, generation):
        name = student_name(args, seed, g)

        def fit(g=g, name=name):
            data = taught(split, seed, stages, args, model, g)
            folder = checkpoints(args, name)
            untrained = clone(model).set_params(checkpoint_dir=folder, **args.student)
            return untrained.fit(data, split.validation)

        student = kept(args.cache / f"{name}.joblib", stages, f"student{g}", fit)
        named.append((f"student{g}", FrozenEstimator(student)))
    return [*named, ("rules", SequentialRules())]


def blend(named: list, teacher: str = "blend") -> RankBlend:
    """Models whose log-probabilities are averaged, and rules that count as much as all of them.

    Or "auto": the weights that rank the ``y`` best that it is fitted with.
    """
    equal = [1.0 if name == "rules" else 1 / max(1, len(named) - 1) for name, _ in named]
    return RankBlend(named, weights="auto" if teacher == "auto" else equal)


def stack(named: list, seed: int) -> RankStack:
    """Stack models, whose log-probabilities are averaged for the candidates, and what counts.

    It learns from the ``y`` that it is fitted with.
    """
    weights = [1 / len(named)] * len(named) + [1, 0, 0]
    counts = [("rules", SequentialRules()), ("chain", MarkovChain()), ("knn", UserKNN())]
    return RankStack([*named, *counts], weights, labels="y", random_state=seed)


def stacked(split: LeaveOneOutSplit, seed: int, stages, args, model) -> RankStack:
    """Backbones stacked by what was learned from the last items of the training rows alone.

    What RankStack does by itself with ``labels="held_back"``, but the backbones that rank are those
    that are kept: only the ones that learn without the last items are trained here.
    """

    def fit():
        held_back = leave_one_out(split.train)
        untrained = [
            (f"model{s}", clone(model).set_params(random_state=s, checkpoint_dir=None))
            for s in range(seed, seed + args.teachers)
        ]
        first = stack(untrained, seed).fit(held_back.history, held_back.test)
        learned = FrozenEstimator(first.final_estimator_)
        models = teachers(split, seed, stages, args, model, generation=1)[:-1]
        second = stack(models, seed).set_params(final_estimator=learned)
        return second.fit(split.train, split.validation)

    name = f"{backbone_name(args, seed)}-stack{args.teachers}"
    return kept(args.cache / f"{name}.joblib", stages, "stack", fit)


def rankers(split: LeaveOneOutSplit, seed: int, stages, args, model, student) -> dict:
    """Fitted: the teacher of a student, and both together."""
    own = [("student", FrozenEstimator(student))]
    if args.teacher == "stack":
        teacher = stacked(split, seed, stages, args, model)
        models = teachers(split, seed, stages, args, model, generation=1)[:-1]
        both = stack([*own, *models], seed).fit(split.train, split.validation)
        return {"teacher": teacher, "teacher_and_student": both}
    named = teachers(split, seed, stages, args, model, args.generation)
    together = {"teacher": named, "teacher_and_student": [*own, *named]}
    return {
        who: blend(members, args.teacher).fit(split.train, split.validation)
        for who, members in together.items()
    }


def taught(split: LeaveOneOutSplit, seed: int, stages, args, model, generation: int):
    """Histories continued by the teachers of a generation."""
    if args.teacher == "stack":
        teacher = FrozenEstimator(stacked(split, seed, stages, args, model))
    else:
        teacher = blend(teachers(split, seed, stages, args, model, generation), args.teacher)

    def continued():
        continuation = TeacherContinuation(
            teacher, random_state=seed, verbose=1, **args.continuation
        )
        made = continuation.fit_transform(split.train, split.validation)
        return SequenceDataset(made.histories, made.table)  # without the teacher

    path = args.cache / f"{taught_name(args, seed, generation)}-data.joblib"
    return kept(path, stages, f"continue{generation}", continued)


def training_data(
    recipe: str, split: LeaveOneOutSplit, window: int, seed: int, stages, args, model
):
    """X' of a recipe, and what is worth noting of it."""
    train = split.train
    if recipe == "backbone":
        return SequenceDataset(train), {}
    if recipe == "twice":
        return original_and(train, PatternTable.of(train, np.arange(len(train)))), {}
    if recipe == "sliding":
        return SlidingWindow(window_size=window).fit_transform(train), {}
    if recipe == "prefixes":
        return SlidingWindow(include_original=False).fit_transform(train), {}
    if recipe == "shuffled":
        return original_and(train, shuffled(train, copies=7, reach=2.0, seed=seed)), {}
    if recipe == "reversed":
        return original_and(train, reversed_order(train)), {}
    if recipe == "taught":
        return taught(split, seed, stages, args, model, args.generation), {}
    if recipe in ("pattern", "mined"):
        miner = PatternMiner(window_size=window, deduplicate=True)
        data = stages("mine", lambda: miner.fit_transform(train))
        table = stages("match", lambda: data.table)
        mined = table[data.origin == "mined"]
        if recipe == "pattern":
            return SequenceDataset(train, mined), {}
        return original_and(train, mined), {}
    data, regenerator = regenerated(train, window, seed, stages, args)
    if recipe in ("dr4sr", "dr4sr+"):
        return data, {"regenerator": regenerator.report_}
    return RandomSubsequences(random_state=seed).fit_transform(data), {}
