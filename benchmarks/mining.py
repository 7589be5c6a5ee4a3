"""Pattern mining: PatternMiner beside Seq2Pat, and its growth with the number of sequences.

    python benchmarks/mining.py --data DIR    # side by side, on the paper's data sets
    python benchmarks/mining.py --scale       # growth to a million sequences

Needs seq2pat 2.0.0 for the comparison (left out where it is not installed). Each writes its part of
results/mining.json and results/mining.md beside this file.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from sklearn_dr4sr import Sequences
from sklearn_dr4sr.datasets import load_sequences, make_sequences
from sklearn_dr4sr.mining import PatternMiner
from sklearn_dr4sr.model_selection import leave_one_out

RESULTS = Path(__file__).parent / "results"
DATA_SETS = {"Beauty": ("Beauty.txt", 5), "Toys": ("Toys_and_Games.txt", 10)}
SIZES = (10_000, 100_000, 1_000_000)


def mine_ours(rows, window_size):
    miner = PatternMiner(window_size=window_size, min_support=2).fit(rows)
    return {tuple(p): s for p, s in zip(miner.patterns_, miner.supports_.tolist(), strict=True)}


def mine_seq2pat(rows, window_size):
    from sequential.seq2pat import Attribute, Seq2Pat

    places = Attribute([list(range(len(row))) for row in rows])
    miner = Seq2Pat(sequences=rows)
    miner.add_constraint(places.span() <= window_size - 1)
    return {tuple(p[:-1]): p[-1] for p in miner.get_patterns(min_frequency=2)}


def side_by_side(folder, repeats=3):
    """Both get lists of lists and give a dict of pattern to support, in turn.

    The ratio of wall times counts. CPU time (Seq2Pat mines in a process of its own) stands beside
    it, because it depends less on how busy the machine is.
    """
    miners = {"PatternMiner": mine_ours}
    if importlib.util.find_spec("sequential"):
        miners["Seq2Pat"] = mine_seq2pat
    table = []
    for name, (file, window_size) in DATA_SETS.items():
        rows = [r for r in leave_one_out(load_sequences(folder / file)).train if len(r) >= 2]
        wall, cpu, patterns = {m: [] for m in miners}, {m: [] for m in miners}, {}
        for _ in range(repeats):
            for miner, mine in miners.items():
                started, cpu_started = time.perf_counter(), cpu_clock()
                patterns[miner] = mine(rows, window_size)
                cpu[miner].append(cpu_clock() - cpu_started)
                wall[miner].append(time.perf_counter() - started)
        line = {
            "data": name,
            "window_size": window_size,
            "patterns": len(patterns["PatternMiner"]),
            "seconds": wall,
            "cpu_seconds": cpu,
        }
        if "Seq2Pat" in miners:
            line["same_patterns"] = patterns["PatternMiner"] == patterns["Seq2Pat"]
            for ratio, seconds in (("times_faster", wall), ("times_less_cpu", cpu)):
                median = {m: statistics.median(seconds[m]) for m in miners}
                line[ratio] = median["Seq2Pat"] / median["PatternMiner"]
        table.append(line)
        print(line, flush=True)
    return table


def one_shop(n_sequences):
    """One catalogue for all: the more rows, the more of their subsequences are frequent."""
    return make_sequences(n_sequences, 2000, mean_length=10, random_state=0)


def many_shops(n_sequences):
    """A catalogue of its own for each 10,000 rows: n times the rows hold n times the patterns."""
    shops = [
        make_sequences(10_000, 2000, mean_length=10, random_state=seed)
        for seed in range(n_sequences // 10_000)
    ]
    codes = np.concatenate([shop.codes + 2000 * i for i, shop in enumerate(shops)])
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([shop.lengths for shop in shops]))])
    return Sequences.from_codes(codes, offsets, np.arange(1, 2000 * len(shops) + 1)).compact()


INPUTS = {"one catalogue": one_shop, "catalogue grows with the rows": many_shops}


def measure_one(kind, n_sequences):
    """Run in a process of its own, for the peak of its memory."""
    line = {"input": kind, "n_sequences": n_sequences}
    sequences = INPUTS[kind](n_sequences)
    line["n_interactions"] = len(sequences.codes)
    line["input_peak_mb"] = peak_mb()
    wall, cpu = time.perf_counter(), cpu_clock()
    miner = PatternMiner(window_size=5, min_support=2).fit(sequences)
    line["seconds"] = time.perf_counter() - wall
    line["cpu_seconds"] = cpu_clock() - cpu
    line["peak_mb"] = peak_mb()
    line["patterns"] = len(miner.patterns_)
    return line


def cpu_clock():
    """CPU seconds of this process and of those that it started and that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux: in kB


def growth():
    found = []
    for kind in INPUTS:
        lines = []
        for n in SIZES:
            command = [sys.executable, __file__, "--one", kind, str(n)]
            lines.append(json.loads(subprocess.run(command, check=True, stdout=-1).stdout))
            print(lines[-1], flush=True)
        sizes = np.log([line["n_sequences"] for line in lines])
        keys = ("patterns", "seconds", "cpu_seconds")
        slopes = {
            key: float(np.polyfit(sizes, np.log([line[key] for line in lines]), 1)[0])
            for key in keys
        }
        found.append({"input": kind, "log_log_slope": slopes, "lines": lines})
    return found


def cpu_name():
    info = Path("/proc/cpuinfo")
    names = [x for x in info.read_text().splitlines() if "model name" in x] if info.exists() else []
    name = names[0].split(":")[1].strip() if names else platform.processor()
    return f"{name}, {os.cpu_count()} cores"


def as_markdown(report):
    lines = ["# Pattern mining"]
    if "side_by_side" in report:
        lines += [
            "",
            *heading(report["side_by_side"]),
            "Seconds (and CPU seconds), medians of three, in turn; lists in, a dict of pattern to",
            "support out.",
            "",
            "| data | window | patterns | PatternMiner | Seq2Pat | times faster | same patterns |",
            "|---|---|---|---|---|---|---|",
        ]
        for x in report["side_by_side"]["lines"]:
            ours, theirs = (
                " ".join(
                    f"{statistics.median(x[key][miner]):.2f}" if miner in x[key] else "-"
                    for key in ("seconds", "cpu_seconds")
                ).replace(" ", " (")
                + ")"
                for miner in ("PatternMiner", "Seq2Pat")
            )
            lines.append(
                f"| {x['data']} | {x['window_size']} | {x['patterns']:,} | {ours} | {theirs} | "
                f"{x.get('times_faster', float('nan')):.0f} "
                f"({x.get('times_less_cpu', float('nan')):.0f}) | {x.get('same_patterns', '-')} |"
            )
    if "growth" in report:
        lines += [
            "",
            *heading(report["growth"]),
            "Growth of `fit`: sequences of mean length 10 from `make_sequences`, window 5, support",
            "2, each size in a process of its own. Catalogue: 2,000 items, or 2,000 for every",
            "10,000 rows. With one catalogue more subsequences become frequent as rows are added,",
            "so there is more to find in each row.",
            "",
            "| catalogue | sequences | patterns | CPU seconds | peak, MB | making the input, MB |",
            "|---|---|---|---|---|---|",
        ]
        for growth_of in report["growth"]["lines"]:
            lines += [
                f"| {x['input']} | {x['n_sequences']:,} | {x['patterns']:,} | "
                f"{x['cpu_seconds']:.2f} | {x['peak_mb']:,.0f} | {x['input_peak_mb']:,.0f} |"
                for x in growth_of["lines"]
            ]
            slope = growth_of["log_log_slope"]
            lines.append(
                f"| log-log slope | | {slope['patterns']:.2f} | {slope['cpu_seconds']:.2f} | | |"
            )
    return "\n".join(lines) + "\n"


def heading(part):
    return [f"{part['cpu']}; {part['date']}; `{part['command']}`", ""]


def conditions(command):
    return {
        "command": f"python benchmarks/mining.py {command}",
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_name(),
        "python": platform.python_version(),
        "versions": {p: version(p) for p in ("sklearn_dr4sr", "numpy", "scikit-learn", "seq2pat")},
    }


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of Beauty.txt and Toys_and_Games.txt")
    parser.add_argument("--scale", action="store_true", help="grow to a million sequences")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        kind, n_sequences = arguments.one
        print(json.dumps(measure_one(kind, int(n_sequences))))
        return
    if arguments.data is None and not arguments.scale:
        parser.error("nothing to do: pass --data, --scale or both")
    stored = RESULTS / "mining.json"
    report = json.loads(stored.read_text()) if stored.exists() else {}
    if arguments.data:
        report["side_by_side"] = conditions("--data DIR") | {"lines": side_by_side(arguments.data)}
    if arguments.scale:
        report["growth"] = conditions("--scale") | {"lines": growth()}
    stored.write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "mining.md").write_text(as_markdown(report))


if __name__ == "__main__":
    main()
