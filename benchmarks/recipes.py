"""What each recipe of ``benchmarks.run`` trains on."""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.frozen import FrozenEstimator

from benchmarks.backbones import (
    as_parts,
    backbone_name,
    checkpoints,
    co_teachers,
    departures,
    kept,
    recommender,
    teaching_backbones,
)
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


def taught_name(args, seed: int, generation: int) -> str:
    """What the data of a generation of students is kept as."""
    parts = [f"taught{generation}", f"by{args.teachers}", *as_parts(args.continuation)]
    parts += as_parts(co_teachers(args))
    parts += [args.teacher] * (args.teacher != "blend")
    parts += student_settings(args) if generation > 1 else []  # of the students that teach too
    return "-".join([backbone_name(args, seed), *parts])


def student_name(args, seed: int, generation: int) -> str:
    """What a student is kept as."""
    own = student_settings(args) if generation == 1 else []
    return "-".join([taught_name(args, seed, generation), *own])


def student_settings(args) -> list[str]:
    """What a student has otherwise than its teachers."""
    return [f"student.{setting}" for setting in as_parts(args.student)]


def backbones(split: LeaveOneOutSplit, seed: int, stages, args) -> list:
    """Named backbones that teach, each trained once and kept."""
    named = []
    for member, (own, s) in teaching_backbones(args, seed).items():
        name = backbone_name(own, s)
        untrained = recommender(s, own).set_params(checkpoint_dir=checkpoints(args, name))
        fit = partial(untrained.fit, split.train, split.validation)
        backbone = kept(args.cache / f"{name}.joblib", stages, f"teach-{member}", fit)
        named.append((member, FrozenEstimator(backbone)))
    return named


def teachers(split: LeaveOneOutSplit, seed: int, stages, args, generation: int) -> list:
    """Named models that teach a generation of students, and the rules.

    Backbones and the students of the generations before. Of the controls what they are called for
    alone.
    """
    if args.teacher in UNTRAINED:
        return [(args.teacher, UNTRAINED[args.teacher]())]
    named = backbones(split, seed, stages, args)
    for g in range(1, generation):
        name = student_name(args, seed, g)

        def fit(g=g, name=name):
            data = taught(split, seed, stages, args, g)
            student = recommender(seed, args)
            student.set_params(checkpoint_dir=checkpoints(args, name), **args.student)
            return student.fit(data, split.validation)

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


def stacked(split: LeaveOneOutSplit, seed: int, stages, args) -> RankStack:
    """Backbones stacked by what was learned from the last items of the training rows alone.

    What RankStack does by itself with ``labels="held_back"``, but the backbones that rank are those
    that are kept: only the ones that learn without the last items are trained here.
    """

    def fit():
        held_back = leave_one_out(split.train)
        untrained = [
            (member, recommender(s, own))
            for member, (own, s) in teaching_backbones(args, seed).items()
        ]
        first = stack(untrained, seed).fit(held_back.history, held_back.test)
        learned = FrozenEstimator(first.final_estimator_)
        models = backbones(split, seed, stages, args)
        second = stack(models, seed).set_params(final_estimator=learned)
        return second.fit(split.train, split.validation)

    parts = [backbone_name(args, seed), f"stack{args.teachers}", *as_parts(co_teachers(args))]
    name = "-".join(parts)
    return kept(args.cache / f"{name}.joblib", stages, "stack", fit)


def rankers(split: LeaveOneOutSplit, seed: int, stages, args, student) -> dict:
    """Fitted: the teacher of a student, and both together."""
    own = [("student", FrozenEstimator(student))]
    if args.teacher == "stack":
        teacher = stacked(split, seed, stages, args)
        models = backbones(split, seed, stages, args)
        both = stack([*own, *models], seed).fit(split.train, split.validation)
        return {"teacher": teacher, "teacher_and_student": both}
    named = teachers(split, seed, stages, args, args.generation)
    together = {"teacher": named, "teacher_and_student": [*own, *named]}
    return {
        who: blend(members, args.teacher).fit(split.train, split.validation)
        for who, members in together.items()
    }


def taught(split: LeaveOneOutSplit, seed: int, stages, args, generation: int):
    """Histories continued by the teachers of a generation."""
    if args.teacher == "stack":
        teacher = FrozenEstimator(stacked(split, seed, stages, args))
    else:
        teacher = blend(teachers(split, seed, stages, args, generation), args.teacher)

    def continued():
        continuation = TeacherContinuation(
            teacher, random_state=seed, verbose=1, **args.continuation
        )
        made = continuation.fit_transform(split.train, split.validation)
        return SequenceDataset(made.histories, made.table)  # without the teacher

    path = args.cache / f"{taught_name(args, seed, generation)}-data.joblib"
    return kept(path, stages, f"continue{generation}", continued)


def training_data(recipe: str, split: LeaveOneOutSplit, window: int, seed: int, stages, args):
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
        return taught(split, seed, stages, args, args.generation), {}
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
