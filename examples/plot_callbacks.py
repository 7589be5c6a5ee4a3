"""
=====================================================
skorch's callbacks: stop, schedule, keep, log, follow
=====================================================

``callbacks=`` of the neural recommenders, and of the regenerator, hands callbacks to the skorch net
that trains. Each fit takes copies, so a list may serve several estimators and a search may clone
it. With ``y`` they find the NDCG@20 of the held-out items as "valid_ndcg" in ``net.history``, and
as "valid_ndcg_best" whether it is the highest so far.
"""

# %%
# Made data, and a model to try them on
# -------------------------------------

import importlib.util
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    LRScheduler,
    MlflowLogger,
    TensorBoard,
)

from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import SASRec

split = leave_one_out(make_sequences(400, 60, random_state=0))
folder = tempfile.TemporaryDirectory()


def train(*callbacks, **parameters):
    model = SASRec(
        loss="ce", embedding_dim=32, max_epochs=12, lr=0.01, callbacks=list(callbacks),
        random_state=0, **parameters,
    )  # fmt: skip
    return model.fit(split.train, split.validation)


# %%
# EarlyStopping
# -------------
# ``patience`` stops by NDCG@20 already, and restores the best weights. Where there is no held-out
# item, the training loss may decide:

stop = EarlyStopping(monitor="train_loss", patience=2, threshold=0.05)
print(len(train(stop).history_), "epochs of 12")

# %%
# LRScheduler
# -----------
# One rate an epoch, by any class of ``torch.optim.lr_scheduler``. A callback of one's own
# records it.


class Rate(Callback):
    def __init__(self):
        self.curve = []  # the copy that a fit takes is a shallow one: it is this list that it fills

    def on_epoch_begin(self, net, **kwargs):
        net.history.record("lr", net.optimizer_.param_groups[0]["lr"])

    def on_train_end(self, net, **kwargs):
        self.curve.extend(net.history[:, ("lr", "valid_ndcg")])


constant, cosine = Rate(), Rate()
train(constant)
train(LRScheduler(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=12), cosine)

figure, (above, below) = plt.subplots(2, sharex=True, figsize=(6, 5), layout="constrained")
for name, rate in {"constant": constant, "cosine": cosine}.items():
    lr, ndcg = zip(*rate.curve, strict=True)
    above.plot(range(1, len(lr) + 1), lr, label=name)
    below.plot(range(1, len(ndcg) + 1), ndcg)
above.set(ylabel="learning rate")
above.legend(frameon=False)
below.set(ylabel="NDCG@20", xlabel="epoch")
plt.show()

# %%
# Checkpoint
# ----------
# skorch's ``Checkpoint`` writes the weights of every epoch that is the best so far: to look at, or
# to serve while training goes on. (To take up a training that was killed, ``checkpoint_dir`` is the
# parameter: it keeps the optimizer, the order of the data and the generators, too.)

train(Checkpoint(monitor="valid_ndcg_best", dirname=Path(folder.name, "best")))
print(sorted(os.listdir(Path(folder.name, "best"))))

# %%
# TensorBoard
# -----------
# An open writer can be neither cloned nor pickled. In place of a callback there may be a callable
# that makes one for each fit: then a search may clone the estimator.

if importlib.util.find_spec("tensorboard"):
    from torch.utils.tensorboard import SummaryWriter

    def board():
        return TensorBoard(SummaryWriter(str(Path(folder.name, "board"))))

    train(board)
    print(len(os.listdir(Path(folder.name, "board"))), "event file")

# %%
# MLflow
# ------
# Training runs in a thread of its own, where ``mlflow.active_run()`` finds none: so the run is
# given. Within ``mlflow.start_run()``, ``callbacks=[lambda: MlflowLogger(mlflow.active_run())]``
# does the same.

if importlib.util.find_spec("mlflow"):
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder will do here
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=Path(folder.name, "runs").as_uri())
    run = client.create_run(client.create_experiment("recommenders"))
    train(MlflowLogger(run, client, create_artifact=False))
    logged = client.get_metric_history(run.info.run_id, "valid_ndcg")
    print(f"{len(logged)} epochs, the last with NDCG@20 of {logged[-1].value:.3f}")

folder.cleanup()
