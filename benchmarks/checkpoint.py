"""Kill a fit a hundred times at random moments: does it end with the uninterrupted result?

    python -m benchmarks.checkpoint --kills 100

Each child process goes on from the checkpoint and is killed with SIGKILL at a random moment of its
first seconds, also while it starts or writes. Reported: the epochs that were trained more than
once (at most one a kill), what writing costs, and whether the weights are equal to the bit.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import torch

from sklearn_dr4sr import checkpoint
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import SASRec


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=1.0, help="longest life of a child")
    args = parser.parse_args()
    torch.set_num_threads(1)
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
        finished = kill_often(lambda: fit(folder), path, args)
        if finished:
            print("a child finished before it was killed: give it more --epochs")
        began = time.perf_counter()
        resumed = fit(folder)
        print(f"the rest took {time.perf_counter() - began:.1f} s")
        assert not list(Path(folder).iterdir())
    began = time.perf_counter()
    whole = fit()
    print(f"without checkpoints, all {args.epochs} epochs: {time.perf_counter() - began:.1f} s")
    left, right = resumed.net_.module_.state_dict(), whole.net_.module_.state_dict()
    equal = all(torch.equal(left[name], right[name]) for name in left)
    print("weights equal to the bit:", equal)
    raise SystemExit(not equal)


def kill_often(fit, path, args):
    """Fork before this process has used autograd; return whether a child came to its end."""
    rng, done = random.Random(0), 0
    for kill in range(args.kills):
        child = os.fork()
        if not child:
            fit()
            os._exit(0)
        time.sleep(rng.uniform(0, args.seconds))
        os.kill(child, signal.SIGKILL)
        if os.WIFEXITED(os.waitpid(child, 0)[1]):
            return True
        before, done = done, len(checkpoint.read(path)["history"]) if path.exists() else 0
        assert done >= before, "a kill has lost an epoch that was written"
        print(f"kill {kill + 1}: {done} of {args.epochs} epochs written")
    return False


if __name__ == "__main__":
    main()
