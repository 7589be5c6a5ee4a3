"""Kill a fit a hundred times at random moments: does it end with the uninterrupted result?

    python -m benchmarks.checkpoint --kills 100

Each child process goes on from the checkpoint and is killed with SIGKILL at a random moment of its
first seconds of CPU time (Linux), also while it starts or writes. Reported, and written to
results/checkpoint.json: the kills that let an epoch be written, whether any took one back, what
writing costs, and whether the weights are equal to the bit.
"""

import argparse
import datetime
import json
import os
import random
import signal
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks.mining import cpu_name
from sklearn_dr4sr import checkpoint
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import SASRec

RESULT = Path(__file__).parent / "results" / "checkpoint.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=2.0, help="of CPU that a child may live")
    args = parser.parse_args()
    torch.set_num_threads(1)
    # what torch imports at a process's first optimizer, so that not every child has to
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    split = leave_one_out(make_sequences(args.rows, 200, random_state=0))

    def fit(folder=None):
        model = SASRec(
            max_epochs=args.epochs,
            patience=10**6,
            random_state=0,
            device="cpu",
            checkpoint_dir=folder,
        )
        return model.fit(split.train, split.validation)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "SASRec.checkpoint"
        written = kill_often(lambda: fit(folder), path, args)
        began = time.perf_counter()
        resumed = fit(folder)
        rest = time.perf_counter() - began
        assert not list(Path(folder).iterdir())
    began = time.perf_counter()
    whole = fit()
    seconds = time.perf_counter() - began
    left, right = resumed.net_.module_.state_dict(), whole.net_.module_.state_dict()
    equal = all(torch.equal(left[name], right[name]) for name in left)
    report = {
        "command": " ".join(["python -m benchmarks.checkpoint", *sys.argv[1:]]),
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
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
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
