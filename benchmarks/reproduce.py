"""The paper's tables and figures beside our figures, our controls and the counting rules.

    python -m benchmarks.reproduce --table 4 --data FOLDER --seeds 3 --n-jobs 2
    python -m benchmarks.reproduce --figure 7 --data FOLDER --render

Each cell is one ``benchmarks.run`` in a process of its own; what is in results/ is not run again,
so a table grows over many calls and an interrupted one goes on where it was (pre-trainings are kept
as well). ``--hours`` starts nothing new after so long. ``--render`` runs nothing and writes what
there is to results/tables/. Cells that lack seeds are marked with how many they have.
"""

from __future__ import annotations

import argparse
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

from benchmarks.run import RESULTS, parse, result_name
from sklearn_dr4sr.metrics import holm, ndcg_of_ranks, sign_flip_test
from sklearn_dr4sr.plotting import PatternWeightsDisplay, RelativeScoreDisplay

FILES = {"Beauty": "Beauty.txt", "Toys": "Toys_and_Games.txt"}
MODELS = ("GRU4Rec", "SASRec", "FMLP", "GNN", "CL4SRec")
#: The paper's Table 3, N@20: backbone, DR4SR, DR4SR+.
PAPER = {
    "Beauty": {
        "GRU4Rec": (0.0150, 0.0177, 0.0194),
        "SASRec": (0.0368, 0.0395, 0.0412),
        "FMLP": (0.0394, 0.0421, 0.0449),
        "GNN": (0.0384, 0.0406, 0.0414),
        "CL4SRec": (0.0441, 0.0495, 0.0517),
    },
    "Toys": {
        "GRU4Rec": (0.0136, 0.0165, 0.0179),
        "SASRec": (0.0448, 0.0504, 0.0527),
        "FMLP": (0.0447, 0.0486, 0.0524),
        "GNN": (0.0469, 0.0498, 0.0521),
        "CL4SRec": (0.0530, 0.0551, 0.0567),
    },
}
#: Tables 4, Figures 6 and 7: N@20 of SASRec.
ABLATION = {"Beauty": (0.0365, 0.0181, 0.0026), "Toys": (0.0470, 0.0407, 0.0067)}
FIGURE_6 = {
    "Beauty": {1: 0.0365, 3: 0.0372, 5: 0.0385, 7: 0.0385, 9: 0.0383},
    "Toys": {1: 0.0470, 3: 0.0482, 5: 0.0504, 7: 0.0502, 9: 0.0505},
}
FIGURE_7 = {"Beauty": {0: 0.0385, 0.1: 0.0398, 0.3: 0.0390, 0.5: 0.0391, 1: 0.0359}, "Toys": {}}
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
CONTROLS = ("twice", "mined", "random", "sliding")


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
        for name, value in self.options.items():
            found += [f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value)]
        return found

    def name(self, seed: int) -> str:
        """The name of its result."""
        return result_name(parse(self.arguments(Path(), seed)), self.recipe, seed)


def cells(table: int | None, figure: int | None) -> list[Cell]:
    """What a table or a figure of the paper holds, and its controls."""
    found = []
    for data in FILES:
        backbone, dr4sr, plus = PAPER[data]["SASRec"]
        if table == 2:
            found += [Cell(data, "SASRec", "dr4sr", dr4sr)]
        elif table == 3:
            for model in MODELS:
                backbone, dr4sr, plus = PAPER[data][model]
                found += [
                    Cell(data, model, "backbone", backbone),
                    Cell(data, model, "dr4sr", dr4sr),
                    Cell(data, model, "dr4sr+", plus),
                    Cell(data, model, "dr4sr", matched=True),
                    *(Cell(data, model, control, matched=True) for control in CONTROLS),
                ]
        elif table == 4:
            no_diversity, pattern, end_to_end = ABLATION[data]
            found += [
                Cell(data, "SASRec", "backbone", backbone),
                Cell(data, "SASRec", "dr4sr+", plus),
                Cell(data, "SASRec", "dr4sr", no_diversity, options={"diversity-factor": 1}),
                Cell(data, "SASRec", "pattern", pattern),
                Cell(
                    data,
                    "SASRec",
                    "dr4sr+",
                    end_to_end,
                    options={"personalizer": {"hypergradient": "end_to_end"}},
                ),
            ]
        elif table == 5:
            found += [Cell(data, "SASRec", recipe) for recipe in ("dr4sr", "dr4sr+")]
        elif figure == 4 and data == "Toys":
            found += [Cell(data, model, "dr4sr+", PAPER[data][model][2]) for model in MODELS]
        elif figure == 5:
            for (model, name), papers in FIGURE_5[data].items():
                for value, paper in zip(("original", "regenerated"), papers, strict=True):
                    found.append(Cell(data, model, "dr4sr", paper, options={"set": {name: value}}))
        elif figure == 6:
            for k, paper in FIGURE_6[data].items():
                options = {"diversity-factor": k} if k != 5 else {}
                found.append(Cell(data, "SASRec", "dr4sr", paper, options=options))
        elif figure == 7:
            for gamma in (0, 0.1, 0.3, 0.5, 1):
                options = {"generative-probability": gamma} if gamma != 0.1 else {}
                paper = FIGURE_7[data].get(gamma)
                found.append(Cell(data, "SASRec", "dr4sr", paper, options=options))
    return found


def run_missing(wanted: list[Cell], args) -> None:
    """Run what has no result yet, ``n_jobs`` at once, each on its share of the cores."""
    missing = [
        (seed, cell)
        for seed in range(args.seeds)
        for cell in wanted
        if not (args.results / f"{cell.name(seed)}.json").exists()
    ]
    there = len(wanted) * args.seeds - len(missing)
    print(f"{there} cells there, {len(missing)} to run", flush=True)
    deadline = time.monotonic() + 3600 * args.hours
    threads = max(1, (os.cpu_count() or 1) // args.n_jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}

    def work(job: tuple[int, Cell]) -> None:
        seed, cell = job
        if time.monotonic() > deadline:
            return
        command = [sys.executable, "-m", "benchmarks.run", *cell.arguments(args.data, seed)]
        command += ["--results", str(args.results)] + ["--max-epochs", "2"] * args.quick
        print(f"{time.strftime('%H:%M:%S')} {cell.name(seed)}", flush=True)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            print(f"{cell.name(seed)} failed:\n{done.stderr[-2000:]}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(args.n_jobs) as pool:
        list(pool.map(work, missing))


@dataclass
class Shelf:
    """The results that there are, in a folder, of the first seeds."""

    folder: Path
    seeds: int

    def results(self, cell: Cell) -> list[dict]:
        """JSON of each seed that there is."""
        paths = [self.folder / f"{cell.name(seed)}.json" for seed in range(self.seeds)]
        return [json.loads(path.read_text()) for path in paths if path.exists()]

    def per_user(self, cell: Cell) -> np.ndarray | None:
        """NDCG@20 of every user, mean over seeds."""
        paths = [self.folder / "ranks" / f"{cell.name(seed)}.npz" for seed in range(self.seeds)]
        found = [ndcg_of_ranks(np.load(p)["rank"].astype(int), 20) for p in paths if p.exists()]
        return np.mean(found, axis=0) if found else None

    def backbone(self, cell: Cell) -> np.ndarray | None:
        """The same of the same model on the original data."""
        return self.per_user(Cell(cell.data, cell.model, "backbone"))


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
    for i, cell in enumerate(wanted):
        recipe = ", ".join([cell.recipe, *(f"{k} {v}" for k, v in cell.options.items())])
        row = [cell.data, cell.model, recipe, "yes" if cell.matched else ""]
        row.append(f"{cell.paper:.4f}" if cell.paper else "")
        records = shelf.results(cell)
        if not records:
            lines.append("| " + " | ".join([*row, "not run", *[""] * 7]) + " |")
            continue
        scores = [record["test"]["ndcg@20"] for record in records]
        spread = f" ± {np.std(scores, ddof=1):.4f}" if len(scores) > 1 else ""
        row += [f"{np.mean(scores):.4f}{spread}", f"{len(scores)} of {shelf.seeds}"]
        row += [f"{gains[i]:+.1%}", f"{p_values[i]:.4f}"] if i in gains else ["", ""]
        rules = shelf.folder / f"{cell.data}-sequentialrules.json"
        known = rules.exists()
        row.append(f"{json.loads(rules.read_text())['test']['ndcg@20']:.4f}" if known else "")
        row.append(f"{np.mean([r['best_step'] for r in records]):.0f}")
        row.append(f"{np.mean([r['seconds']['train'] for r in records]):.0f}")
        row.append(f"{np.mean([r['peak_memory_mb'] for r in records]):.0f}")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def statistics(wanted: list[Cell], shelf: Shelf) -> str:
    """Table 2: size and mean length of X'."""
    paper = {"Beauty": (0.32, 4.0), "Toys": (0.30, 3.7)}
    lines = [
        "| data | paper: interactions, mean length | ours | rows |",
        "|---|---|---|---|",
    ]
    for cell in wanted:
        for record in shelf.results(cell)[:1]:
            size = record["patterns"] * record["mean_length"] / 1e6
            lines.append(
                f"| {cell.data} | {paper[cell.data][0]:.2f} m, {paper[cell.data][1]} "
                f"| {size:.2f} m, {record['mean_length']:.1f} | {record['patterns']:,} |"
            )
    return "\n".join(lines) + "\n"


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
    _, axes = plt.subplots(1, len(FILES), figsize=(9, 3.5), layout="constrained")
    for ax, data in zip(axes, FILES, strict=True):
        mine = [cell for cell in wanted if cell.data == data]
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


def draw_weights(wanted: list[Cell], folder: Path, path: Path) -> None:
    """The weights that each target model's personalizer has learned (Figure 4), as far as run."""
    stored = {cell.model: folder / "weights" / f"{cell.name(0)}.joblib" for cell in wanted}
    weighted = {model: joblib.load(file) for model, file in stored.items() if file.exists()}
    if weighted:
        PatternWeightsDisplay(weighted).plot(by="position").figure_.savefig(path, dpi=120)


def main() -> None:
    """Run what is missing, then render what there is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--table", type=int, choices=(2, 3, 4, 5, 6))
    which.add_argument("--figure", type=int, choices=(4, 5, 6, 7))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--hours", type=float, default=1e6, help="start nothing new after so long")
    parser.add_argument("--quick", action="store_true", help="two epochs each, to try it")
    parser.add_argument("--render", action="store_true", help="run nothing")
    args = parser.parse_args()
    if args.table == 6:
        parser.error(
            "Table 6 is Gowalla and Amazon-book, which are not distributed here: fetch_gowalla() "
            "and fetch_amazon('Books') of sklearn_dr4sr.datasets fetch them from their origin, and "
            "SequenceDataset(fetched.sequences).to_text(FILE) writes what python -m benchmarks.run "
            "--data FILE --recipe backbone, then dr4sr and dr4sr+, takes"
        )
    args.results = RESULTS.parent / "cache" / "quick" if args.quick else RESULTS
    wanted, shelf = cells(args.table, args.figure), Shelf(args.results, args.seeds)
    if not args.render:
        run_missing(wanted, args)
    name = f"table-{args.table}" if args.table else f"figure-{args.figure}"
    text = statistics(wanted, shelf) if args.table == 2 else render(wanted, shelf)
    folder = args.results / "tables"
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.md").write_text(text)
    if args.figure == 4:
        draw_weights(wanted, args.results, folder / f"{name}.png")
    elif args.figure == 5:
        draw_relative(wanted, shelf, folder / f"{name}.png")
    elif args.figure in (6, 7):
        draw(wanted, shelf, args.figure, folder / f"{name}.png")
    print(text)


if __name__ == "__main__":
    main()
