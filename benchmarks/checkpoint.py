"""Kill a fit a hundred times at random moments: does it end with the uninterrupted result?

    python -m benchmarks.checkpoint --fit recommender --kills 100
    python -m benchmarks.checkpoint --fit regenerator --kills 100
    python -m benchmarks.checkpoint --fit personalizer --kills 100

Each child process goes on from the checkpoint and is killed with SIGKILL at a random moment of its
first seconds of CPU time (Linux), also while it starts or writes. Reported, and written to
results/checkpoint-FIT.json: the kills that let an epoch be written, whether any took one back, what
writing costs, and whether the weights are equal to the bit. With the personalizer both levels are
compared.
"""

import argparse
import datetime
import json
import os
import random
import signal
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks.mining import cpu_name
from benchmarks.models import command_line
from sklearn_dr4sr import DatasetPersonalizer, DatasetRegenerator, PatternMiner, checkpoint
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import SASRec

RESULTS = Path(__file__).parent / "results"


def recommender(args, folder):
    """SASRec, to the end of its epochs."""
    shared = {"max_epochs": args.epochs, "random_state": 0, "device": "cpu"}
    return SASRec(patience=10**6, checkpoint_dir=folder, **shared)


def fit_recommender(split, args, folder=None):
    fitted = recommender(args, folder).fit(split.train, split.validation)
    return fitted.net_.module_.state_dict()


def fit_regenerator(split, args, folder=None):
    data = PatternMiner().fit_transform(split.train)
    fitted = DatasetRegenerator(
        max_epochs=args.epochs,
        item_embedding="random",
        random_state=0,
        device="cpu",
        checkpoint_dir=folder,
    ).fit(data)
    return fitted.net_.module_.state_dict()


def fit_personalizer(split, args, folder=None):
    data = PatternMiner().fit_transform(split.train)
    fitted = DatasetPersonalizer(
        recommender(args, folder), warmup_epochs=1, inner_steps=4, random_state=0
    ).fit(data, split.validation)
    trained = {"upper": fitted.network_, "lower": fitted.recommender_.net_.module_}
    return {f"{level}.{k}": v for level, m in trained.items() for k, v in m.state_dict().items()}


#: What trains, returning all that was learned; and whose name the checkpoint has.
FITS = {
    "recommender": (fit_recommender, "SASRec"),
    "regenerator": (fit_regenerator, "DatasetRegenerator"),
    "personalizer": (fit_personalizer, "SASRec"),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", choices=FITS, default="recommender")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=2.0, help="of CPU that a child may live")
    args = parser.parse_args()
    torch.set_num_threads(1)
    # what torch imports at a process's first optimizer, so that not every child has to
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    split = leave_one_out(make_sequences(args.rows, 200, random_state=0))

    train, name = FITS[args.fit]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.checkpoint"
        written = kill_often(lambda: train(split, args, folder), path, args)
        began = time.perf_counter()
        resumed = train(split, args, folder)
        rest = time.perf_counter() - began
        assert not list(Path(folder).iterdir())
    began = time.perf_counter()
    whole = train(split, args)
    seconds = time.perf_counter() - began
    equal = all(torch.equal(resumed[name], whole[name]) for name in whole)
    report = {
        "command": command_line("checkpoint"),
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_name(),
        "torch": torch.__version__,
        **vars(args),
        "kills_done": len(written),
        "kills_after_an_epoch": sum(b > a for a, b in pairwise([0, *written])),
        "epochs_written_before_the_last_kill": written[-1],
        "seconds_for_the_rest": round(rest, 1),
        "seconds_without_checkpoints": round(seconds, 1),
        "equal_to_the_bit": equal,
    }
    print(json.dumps(report, indent=1))
    path = RESULTS / f"checkpoint-{args.fit}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    raise SystemExit(not equal)


def kill_often(fit, path, args):
    """Fork before this process has used autograd; return the epochs written by each kill."""
    rng, done, written = random.Random(0), 0, []
    for kill in range(args.kills):
        child = os.fork()
        if not child:
            fit()
            os._exit(0)
        life = rng.uniform(0, args.seconds)
        while cpu_seconds(child) < life:
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        if os.WIFEXITED(os.waitpid(child, 0)[1]):
            print("a child finished before it was killed: give it more --epochs")
            break
        before, done = done, len(checkpoint.read(path)["history"]) if path.exists() else 0
        assert done >= before, "a kill has lost an epoch that was written"
        written.append(done)
        print(f"kill {kill + 1}: {done} of {args.epochs} epochs written", flush=True)
    return written


def cpu_seconds(process):
    """CPU time that a child has taken; one that has ended has taken enough."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    if fields[0] == "Z":
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
