"""The paper's tables and figures beside our figures, our controls and the counting rules.

    python -m benchmarks.reproduce --table 4 --data FOLDER --seeds 3 --n-jobs 2
    python -m benchmarks.reproduce --figure 7 --data FOLDER --render

Each cell is one ``benchmarks.run`` in a process of its own; what is in results/ is not run again,
so a table grows over many calls. ``--hours`` ends the call after so long: a cell that is stopped
then goes on after its last whole epoch the next time (pre-trainings are kept as well). Further
options, such as ``--device cuda``, ``--loss ce`` or ``--quick``, are those of ``benchmarks.run``.
``--render`` runs nothing and writes what there is to results/tables/. Cells that lack seeds are
marked with how many they have; those without any are listed below the table. The exit status is 1
if a cell failed.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np

from benchmarks.backbones import MODELS, as_parts, departures
from benchmarks.run import FILES, PAPER, parse, recipe_of, result_name, settings
from sklearn_dr4sr.metrics import holm, ndcg_of_ranks, sign_flip_test
from sklearn_dr4sr.plotting import PatternWeightsDisplay, RelativeScoreDisplay

FURTHER = ("Sports", "Yelp")  # of the paper's tables, where there is a file
TABLE_6 = ("Gowalla", "Amazon-book")
SUPPLY = (
    "; Gowalla and Amazon-book are not distributed here and have to be supplied: fetch_gowalla() "
    "and fetch_amazon('Books') of sklearn_dr4sr.datasets fetch them from their origin, and "
    "SequenceDataset(fetched.sequences).to_text(FILE) writes the file"
)
TARGETS = ("GRU4Rec", "SASRec", "FMLP", "GNN", "CL4SRec")
#: Size of X' in millions of interactions, and mean length.
TABLE_2 = {"Beauty": (0.32, 4.0), "Sports": (0.45, 4.2), "Toys": (0.30, 3.7), "Yelp": (0.52, 4.1)}
#: N@20: backbone, DR4SR, DR4SR+.
TABLE_3 = {
    "Beauty": {
        "GRU4Rec": (0.0150, 0.0177, 0.0194),
        "SASRec": (0.0368, 0.0395, 0.0412),
        "FMLP": (0.0394, 0.0421, 0.0449),
        "GNN": (0.0384, 0.0406, 0.0414),
        "CL4SRec": (0.0441, 0.0495, 0.0517),
    },
    "Sports": {
        "GRU4Rec": (0.0115, 0.0135, 0.0151),
        "SASRec": (0.0194, 0.0220, 0.0235),
        "FMLP": (0.0217, 0.0230, 0.0253),
        "GNN": (0.0211, 0.0230, 0.0238),
        "CL4SRec": (0.0259, 0.0274, 0.0299),
    },
    "Toys": {
        "GRU4Rec": (0.0136, 0.0165, 0.0179),
        "SASRec": (0.0448, 0.0504, 0.0527),
        "FMLP": (0.0447, 0.0486, 0.0524),
        "GNN": (0.0469, 0.0498, 0.0521),
        "CL4SRec": (0.0530, 0.0551, 0.0567),
    },
    "Yelp": {
        "GRU4Rec": (0.0143, 0.0156, 0.0164),
        "SASRec": (0.0193, 0.0202, 0.0211),
        "FMLP": (0.0197, 0.0210, 0.0231),
        "GNN": (0.0166, 0.0175, 0.0184),
        "CL4SRec": (0.0212, 0.0229, 0.0241),
    },
}
#: N@20 of SASRec: without diversity (K = 1, no weights), patterns alone, end to end.
TABLE_4 = {
    "Beauty": (0.0365, 0.0181, 0.0026),
    "Sports": (0.0211, 0.0184, 0.0029),
    "Toys": (0.0470, 0.0407, 0.0067),
    "Yelp": (0.0196, 0.0141, 0.0035),
}
#: Seconds an epoch and MB of the GPU: without the upper level, with it.
TABLE_5 = {
    "Beauty": ((7.618, 1930), (9.476, 2342)),
    "Sports": ((15.345, 2194), (18.952, 2626)),
    "Toys": ((13.370, 1968), (14.213, 2382)),
    "Yelp": ((17.738, 2254), (22.41, 2688)),
}
#: Figure 5: what the GNN's graph is built from, what CL4SRec's views are drawn from.
FIGURE_5 = {
    "Beauty": {
        ("GNN", "graph"): (0.0406, 0.0386),
        ("CL4SRec", "augment"): (0.0427, 0.0495),
    },
    "Toys": {
        ("GNN", "graph"): (0.0482, 0.0498),
        ("CL4SRec", "augment"): (0.0542, 0.0549),
    },
}
FIGURE_6 = {
    "Beauty": {1: 0.0365, 3: 0.0372, 5: 0.0385, 7: 0.0385, 9: 0.0383},
    "Toys": {1: 0.0470, 3: 0.0482, 5: 0.0504, 7: 0.0502, 9: 0.0505},
}
#: What the paper sets otherwise than the defaults, which are those of Toys.
SETTINGS = {("Beauty", "CL4SRec"): {"mask": 0.4}}
FIGURE_7 = {"Beauty": {0: 0.0385, 0.1: 0.0398, 0.3: 0.0390, 0.5: 0.0391, 1: 0.0359}, "Toys": {}}


@dataclass
class Cell:
    """One recipe for one model on one data set: what is run, and the paper's N@20 of it."""

    data: str
    model: str
    recipe: str
    paper: float | None = None
    matched: bool = False
    options: dict = field(default_factory=dict)  # of benchmarks.run: K, gamma, personalizer

    def arguments(self, folder: Path, seed: int) -> list[str]:
        """Command line of ``benchmarks.run``."""
        found = ["--data", str(folder / FILES[self.data]), "--recipe", self.recipe]
        found += ["--model", self.model, "--first-seed", str(seed)]
        found += ["--steps-per-epoch", "backbone" if self.matched else "data"]
        options = dict(self.options)
        chosen = {**SETTINGS.get((self.data, self.model), {}), **options.pop("set", {})}
        usual = MODELS[self.model]().get_params()
        changed = {name: value for name, value in chosen.items() if value != usual[name]}
        options |= {"set": changed} if changed else {}  # a default is run once, whoever asks
        for name, value in options.items():
            found += [f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value)]
        return found

    def label(self) -> str:
        """The recipe and what departs from its defaults."""
        args = parse(self.arguments(Path(), 0))
        chosen = {**self.options.get("set", {}), **settings(args)}
        label = recipe_of({**vars(args), "settings": chosen})
        by_default = self.recipe == "dr4sr+" and not self.options
        return f"{label}, defaults" if by_default else label


def by_the_paper(**changed) -> dict:
    """Options of the paper's personalizer, or of what departs from it."""
    return {"personalizer": {**PAPER, **changed}}


def size_controls(data: str, model: str) -> list[Cell]:
    """X' and what holds as much without being regenerated, at the backbone's steps an epoch."""
    recipes = ("dr4sr", "twice", "mined", "random", "sliding")
    return [Cell(data, model, recipe, matched=True) for recipe in recipes]


def personalized(data: str, model: str, paper: float | None) -> list[Cell]:
    """DR4SR+ by the paper's recipe and by the package's defaults."""
    return [
        Cell(data, model, "dr4sr+", paper, options=by_the_paper()),
        Cell(data, model, "dr4sr+"),
    ]


def noise_controls(data: str, model: str) -> list[Cell]:
    """DR4SR+ with a frozen random network, without noise, and with its weights dealt out.

    The fourth, constant weights, is DR4SR.
    """
    options = [by_the_paper(upper_lr=0), by_the_paper(gumbel=False)]
    options += [{**by_the_paper(), "weights": "permuted"}]
    return [Cell(data, model, "dr4sr+", options=each) for each in options]


def overall(data: str, model: str) -> list[Cell]:
    """Table 3 (and 6) of one model: backbone, DR4SR, DR4SR+, and all controls."""
    backbone, dr4sr, plus = TABLE_3.get(data, {}).get(model, (None, None, None))
    return [
        Cell(data, model, "backbone", backbone),
        Cell(data, model, "dr4sr", dr4sr),
        *personalized(data, model, plus),
        *noise_controls(data, model),
        *size_controls(data, model),
    ]


def ablation(data: str) -> list[Cell]:
    """Table 4, after DR4SR, which lacks no more than the personalizer."""
    no_diversity, pattern, end_to_end = TABLE_4[data]
    options = {
        "paper": by_the_paper(hypergradient="end_to_end"),
        "defaults": {"personalizer": {"hypergradient": "end_to_end"}},
    }
    return [
        *overall(data, "SASRec"),
        Cell(data, "SASRec", "dr4sr", no_diversity, options={"diversity-factor": 1}),
        Cell(data, "SASRec", "pattern", pattern),
        Cell(data, "SASRec", "dr4sr+", end_to_end, options=options["paper"]),
        Cell(data, "SASRec", "dr4sr+", options=options["defaults"]),
    ]


def forms(data: str) -> list[Cell]:
    """Figure 5: graphs and views from the original and from the regenerated data."""
    points = [
        Cell(data, model, "dr4sr", paper, options={"set": {name: value}})
        for (model, name), papers in FIGURE_5[data].items()
        for value, paper in zip(("original", "regenerated"), papers, strict=True)
    ]
    controls = [
        cell
        for model in dict.fromkeys(cell.model for cell in points)
        for cell in (Cell(data, model, "backbone"), *size_controls(data, model))
    ]
    return [*points, *controls]


def curve(data: str, figure: int) -> list[Cell]:
    """Figures 6 and 7: K, γ."""
    if figure == 6:
        option, usual, papers = "diversity-factor", 5, FIGURE_6[data]
    else:
        option, usual = "generative-probability", 0.1
        papers = {gamma: FIGURE_7[data].get(gamma) for gamma in (0, 0.1, 0.3, 0.5, 1)}
    points = [
        Cell(data, "SASRec", "dr4sr", paper, options={option: value} if value != usual else {})
        for value, paper in papers.items()
    ]
    return [*points, Cell(data, "SASRec", "backbone"), *size_controls(data, "SASRec")]


def cells(table: int | None, figure: int | None, sets: list[str]) -> list[Cell]:
    """What a table or a figure of the paper holds, and its controls."""
    found = []
    for data in sets:
        if table == 2:
            found += [Cell(data, "SASRec", "dr4sr")]
        elif table == 3:
            found += [cell for model in TARGETS for cell in overall(data, model)]
        elif table == 4:
            found += ablation(data)
        elif table == 5:
            found += [Cell(data, "SASRec", recipe) for recipe in ("backbone", "dr4sr")]
            found += personalized(data, "SASRec", None)
        elif table == 6:
            found += overall(data, "SASRec")
        elif figure == 4 and data == "Toys":
            for model in TARGETS:
                found += personalized(data, model, TABLE_3[data][model][2])
                found += [Cell(data, model, "dr4sr"), *noise_controls(data, model)]
        elif figure == 5:
            found += forms(data)
        elif figure in (6, 7):
            found += curve(data, figure)
    return found


@dataclass
class Shelf:
    """The results that there are, in a folder, of the first seeds."""

    folder: Path
    seeds: int
    words: list[str] = field(default_factory=list)  # that every benchmarks.run is given
    failed: set[str] = field(default_factory=set)

    def arguments(self, cell: Cell, data: Path, seed: int) -> list[str]:
        """Command line of ``benchmarks.run``: what the cell sets comes last."""
        words = [*self.words, *cell.arguments(data, seed)]
        if words.count("--set") > 1:  # of the cell, and of all
            merged = {**parse(["--data", "", *self.words]).set, **parse(words).set}
            words += ["--set", json.dumps(merged)]
        return words

    def departures(self) -> list[str]:
        """What all cells have otherwise than the paper's setting; a trial has its own folder."""
        args = parse(["--data", "", *self.words])
        if args.quick:
            return []
        loss = [args.loss] * (args.loss != "bce")
        return [*loss, *as_parts(settings(args)), *departures(vars(args))]

    def name(self, cell: Cell, seed: int) -> str:
        """The name of a result."""
        return result_name(parse(self.arguments(cell, Path(), seed)), cell.recipe, seed)

    def names(self, cell: Cell) -> list[str]:
        """The names of all seeds."""
        return [self.name(cell, seed) for seed in range(self.seeds)]

    def results(self, cell: Cell) -> list[dict]:
        """JSON of each seed that there is."""
        paths = [self.folder / f"{name}.json" for name in self.names(cell)]
        return [json.loads(path.read_text()) for path in paths if path.exists()]

    def regenerated(self, cell: Cell) -> dict | None:
        """A result on the cell's X': what was trained on it says nothing about its size."""
        args = parse(self.arguments(cell, Path(), 0))
        wanted = {key: vars(args)[key] for key in ("diversity_factor", "generative_probability")}
        own = self.folder / f"{self.name(cell, 0)}.json"
        found = self.folder.glob(f"{cell.data}-dr4sr*-s0.json")
        for path in sorted(found, key=lambda path: (path != own, path)):  # its own before others
            record = json.loads(path.read_text())
            if wanted.items() <= record.items():
                return record
        return None

    def per_user(self, cell: Cell) -> np.ndarray | None:
        """NDCG@20 of every user, mean over seeds."""
        paths = [self.folder / "ranks" / f"{name}.npz" for name in self.names(cell)]
        found = [ndcg_of_ranks(np.load(p)["rank"].astype(int), 20) for p in paths if p.exists()]
        return np.mean(found, axis=0) if found else None

    def backbone(self, cell: Cell) -> np.ndarray | None:
        """The same of the same model on the original data."""
        return self.per_user(Cell(cell.data, cell.model, "backbone"))

    def missing(self, cell: Cell) -> str:
        """Why there is no result, and what there is of fewer epochs."""
        if self.failed.intersection(self.names(cell)):
            return "failed"
        for seed, name in enumerate(self.names(cell)):
            stem = glob.escape(name.removesuffix(f"-s{seed}"))
            for path in sorted(self.folder.glob(f"{stem}-max_epochs=*-s{seed}.json")):
                record = json.loads(path.read_text())
                epochs, score = record["parameters"]["max_epochs"], record["test"]["ndcg@20"]
                return f"not run to its end; {epochs} epochs: {score:.4f}"
        return "not run"


def jobs(wanted: list[Cell], shelf: Shelf, data: Path) -> dict[str, list[str]]:
    """Command lines by the name of the result; the rules first, which no table goes without."""
    found = {
        f"{name}-sequentialrules": [
            *shelf.words,
            *("--data", str(data / FILES[name]), "--recipe", "baselines"),
        ]
        for name in dict.fromkeys(cell.data for cell in wanted)
    }
    for seed in range(shelf.seeds):
        for cell in wanted:
            found[shelf.name(cell, seed)] = shelf.arguments(cell, data, seed)
    return found


def run_missing(wanted: list[Cell], shelf: Shelf, args) -> None:
    """Run what has no result yet, ``n_jobs`` at once, each on its share of the cores."""
    listed = jobs(wanted, shelf, args.data)
    todo = {name: words for name, words in listed.items() if not has(shelf.folder, name)}
    print(f"{len(listed) - len(todo)} results there, {len(todo)} to run", flush=True)
    deadline = time.monotonic() + 3600 * args.hours
    threads = max(1, (os.cpu_count() or 1) // args.n_jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}

    def work(name: str) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        command = [sys.executable, "-m", "benchmarks.run", *todo[name]]
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=left if left < 1e6 else None,  # poll() takes no more than 2**31 ms
            )
        except subprocess.TimeoutExpired:
            print(f"{name} is stopped; it goes on the next time", flush=True)
            return
        if done.returncode:
            shelf.failed.add(name)
            print(f"{name} failed:\n{done.stderr[-2000:]}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(args.n_jobs) as pool:
        list(pool.map(work, todo))


def has(folder: Path, name: str) -> bool:
    """Whether there is a result."""
    return (folder / f"{name}.json").exists()


def line(*cells) -> str:
    """A row of a table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def render(wanted: list[Cell], shelf: Shelf) -> str:
    """Markdown: paper, ours, the rules, and whether a recipe differs from its backbone."""
    gains, p_values = {}, {}
    for i, cell in enumerate(wanted):
        ours, base = shelf.per_user(cell), shelf.backbone(cell)
        if cell.recipe != "backbone" and ours is not None and base is not None:
            gains[i], p_values[i] = ours.mean() / base.mean() - 1, sign_flip_test(ours - base)
    p_values = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    lines = [
        "| data | model | recipe | matched steps | paper N@20 | N@20 | seeds | over backbone "
        "| p (Holm) | rules N@20 | best step | training s | peak MB |",
        "|" + "---|" * 13,
    ]
    left: dict[str, list[str]] = {}
    for i, cell in enumerate(wanted):
        row = [cell.data, cell.model, cell.label(), "yes" if cell.matched else ""]
        row.append(f"{cell.paper:.4f}" if cell.paper else "")
        records = shelf.results(cell)
        if not records:
            missing = shelf.missing(cell)
            if missing == "not run":
                label = f"{cell.label()}{' at matched steps' * cell.matched}"
                label += f" (the paper: {cell.paper:.4f})" if cell.paper else ""
                left.setdefault(f"{cell.data}, {cell.model}", []).append(label)
            else:
                lines.append(line(*row, missing, *[""] * 7))
            continue
        scores = [record["test"]["ndcg@20"] for record in records]
        spread = f" ± {np.std(scores, ddof=1):.4f}" if len(scores) > 1 else ""
        row += [f"{np.mean(scores):.4f}{spread}", f"{len(scores)} of {shelf.seeds}"]
        row[-1] += ", one failed" * (shelf.missing(cell) == "failed")
        row += [f"{gains[i]:+.1%}", f"{p_values[i]:.4f}"] if i in gains else ["", ""]
        rules = shelf.folder / f"{cell.data}-sequentialrules.json"
        known = rules.exists()
        row.append(f"{json.loads(rules.read_text())['test']['ndcg@20']:.4f}" if known else "")
        row.append(f"{np.mean([r['best_step'] for r in records]):.0f}")
        row.append(f"{np.mean([r['seconds']['train'] for r in records]):.0f}")
        row.append(f"{np.mean([r['peak_memory_mb'] for r in records]):.0f}")
        lines.append(line(*row))
    if left:
        lines += ["", "Not run:", ""]
        lines += [f"- {what}: {'; '.join(labels)}" for what, labels in left.items()]
    return "\n".join(lines) + "\n"


def statistics(wanted: list[Cell], shelf: Shelf) -> str:
    """Table 2: size and mean length of X'."""
    lines = [
        "| data | paper: interactions, mean length | ours | rows |",
        "|---|---|---|---|",
    ]
    for cell in wanted:
        million, length = TABLE_2[cell.data]
        row = [cell.data, f"{million:.2f} m, {length}"]
        if record := shelf.regenerated(cell):
            size, mean = record["patterns"], record["mean_length"]
            row += [f"{size * mean / 1e6:.2f} m, {mean:.1f}", f"{size:,}"]
        else:
            row += [shelf.missing(cell), ""]
        lines.append(line(*row))
    return "\n".join(lines) + "\n"


def efficiency(wanted: list[Cell], shelf: Shelf) -> str:
    """Table 5: seconds an epoch and memory, without and with the upper level."""
    lines = [
        "| data | recipe | paper s an epoch | s an epoch (median) | over dr4sr "
        "| paper MB of the GPU | MB of the GPU | peak MB of the process | device |",
        "|" + "---|" * 9,
    ]
    seconds, where = {}, {}
    for cell in wanted:
        without, with_upper = TABLE_5[cell.data]
        beside = {"dr4sr": without, "dr4sr+, recipe=paper": with_upper}
        paper = beside.get(cell.label(), ("", ""))
        if not (records := shelf.results(cell)):
            missing = shelf.missing(cell)
            lines.append(line(cell.data, cell.label(), paper[0], missing, "", paper[1], *[""] * 3))
            continue
        key = (cell.data, cell.label())
        seconds[key] = np.median(np.concatenate([np.ravel(r["epoch_seconds"]) for r in records]))
        base = seconds.get((cell.data, "dr4sr"))
        where[key] = ", ".join(sorted({r.get("device", "CPU") for r in records}))
        beside_it = base and cell.recipe == "dr4sr+" and where[key] == where[cell.data, "dr4sr"]
        over = f"{seconds[key] / base:.2f}" if beside_it else ""
        device = [r["peak_device_memory_mb"] for r in records if "peak_device_memory_mb" in r]
        lines.append(
            line(
                *key,
                *(paper[0], f"{seconds[key]:.3f}", over),
                *(paper[1], f"{np.median(device):.0f}" if device else ""),
                f"{np.median([r['peak_memory_mb'] for r in records]):.0f}",
                where[key],
            )
        )
    note = "The paper does not say what it calls BASE: it is taken for DR4SR, the same data.\n"
    return "\n".join(lines) + "\n\n" + note


def draw(wanted: list[Cell], shelf: Shelf, figure: int, path: Path) -> None:
    """N@20 against K (Figure 6) or gamma (Figure 7), ours and the paper's."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    option, label = {
        6: ("diversity-factor", "K"),
        7: ("generative-probability", "γ"),
    }[figure]
    default = {6: 5, 7: 0.1}[figure]
    _, axes = plt.subplots(1, len(FIGURE_6), figsize=(9, 3.5), layout="constrained")
    for ax, data in zip(axes, FIGURE_6, strict=True):
        points = [cell for cell in wanted if cell.recipe == "dr4sr" and not cell.matched]
        mine = [cell for cell in points if cell.data == data]
        x = np.array([cell.options.get(option, default) for cell in mine], dtype=float)
        ours = [
            np.mean([record["test"]["ndcg@20"] for record in shelf.results(cell)] or [np.nan])
            for cell in mine
        ]
        paper = [cell.paper if cell.paper else np.nan for cell in mine]
        ax.plot(x, ours, "o-", label="ours")
        ax.plot(x, paper, "s--", color="grey", label="the paper")
        ax.set(title=data, xlabel=label, ylabel="NDCG@20")
        ax.legend()
    plt.savefig(path, dpi=120)


def draw_relative(wanted: list[Cell], shelf: Shelf, path: Path) -> None:
    """N@20 with regenerated graphs and views over that with the original (Figure 5)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    wanted = [cell for cell in wanted if "set" in cell.options]
    models = {cell.model: next(iter(cell.options["set"])) for cell in wanted}
    _, axes = plt.subplots(1, len(models), figsize=(10, 3.5), layout="constrained")
    for ax, (model, option) in zip(axes, models.items(), strict=True):
        scores: dict[str, dict] = {}
        for cell in wanted:
            if cell.model == model:
                value = cell.options["set"][option]
                scores.setdefault(f"{cell.data},\nthe paper", {})[value] = cell.paper
                if found := [record["test"]["ndcg@20"] for record in shelf.results(cell)]:
                    scores.setdefault(f"{cell.data},\nours", {})[value] = found
        whole = {name: of for name, of in scores.items() if len(of) == 2}
        RelativeScoreDisplay(whole, "original", metric="NDCG@20").plot(ax)
        ax.set_title(f"{option} of {model}")
    plt.savefig(path, dpi=120)


def draw_weights(wanted: list[Cell], shelf: Shelf, path: Path) -> None:
    """The weights that each target model's personalizer has learned (Figure 4), as far as run."""
    titles = {"dr4sr+, recipe=paper": "", "dr4sr+, defaults": ", defaults"}
    weighted = {}
    for cell in wanted:
        stored = shelf.folder / "weights" / f"{shelf.name(cell, 0)}.joblib"
        if cell.label() in titles and stored.exists():
            weighted[cell.model + titles[cell.label()]] = joblib.load(stored)
    if weighted:
        PatternWeightsDisplay(weighted).plot(by="position").figure_.savefig(path, dpi=120)


def read_arguments() -> argparse.Namespace:
    """Read the command line; ``words`` are for ``benchmarks.run``."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--table", type=int, choices=(2, 3, 4, 5, 6))
    which.add_argument("--figure", type=int, choices=(4, 5, 6, 7))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument(
        "--hours", type=float, default=np.inf, help="stop after so long, to go on another time"
    )
    parser.add_argument("--render", action="store_true", help="run nothing")
    args, args.words = parser.parse_known_args()
    there = {data for data, file in FILES.items() if (args.data / file).exists()}
    args.sets = list(TABLE_6) if args.table == 6 else ["Beauty", "Toys"]
    if args.table in (2, 3, 4, 5):
        args.sets += [data for data in FURTHER if data in there]
    wanted = cells(args.table, args.figure, args.sets)
    args.there = [cell for cell in wanted if cell.data in there]
    if not args.render and not args.there:
        files = ", ".join(dict.fromkeys(FILES[cell.data] for cell in wanted))
        supply = SUPPLY if args.table == 6 else ""
        parser.error(f"--data {args.data}: {files} expected, none is there{supply}")
    for data in dict.fromkeys(cell.data for cell in wanted if cell.data not in there):
        print(f"{args.data / FILES[data]} is not there: {data} is not run")
    args.results = parse(["--data", "", *args.words]).results
    args.wanted = wanted
    return args


def main() -> int:
    """Run what is missing, then render what there is; 1 if a cell failed."""
    args = read_arguments()
    wanted, shelf = args.wanted, Shelf(args.results, args.seeds, args.words)
    if not args.render:
        run_missing(args.there, shelf, args)
    name = f"table-{args.table}" if args.table else f"figure-{args.figure}"
    name = "-".join([name, *shelf.departures()])
    text = {2: statistics, 5: efficiency}.get(args.table, render)(wanted, shelf)
    if shelf.departures():
        text = f"All cells: {', '.join(shelf.departures())}.\n\n{text}"
    folder = args.results / "tables"
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.md").write_text(text)
    if args.figure == 4:
        draw_weights(wanted, shelf, folder / f"{name}.png")
    elif args.figure == 5:
        draw_relative(wanted, shelf, folder / f"{name}.png")
    elif args.figure in (6, 7):
        draw(wanted, shelf, args.figure, folder / f"{name}.png")
    print(text)
    return int(bool(shelf.failed))


if __name__ == "__main__":
    sys.exit(main())
