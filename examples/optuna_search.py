"""Search the hyper-parameters of the whole path with Optuna, and go on after a kill.

pip install -e ".[integrations]" && python examples/optuna_search.py --trials 6
python examples/optuna_search.py --trials 6 --storage sqlite:///study.db  # may be killed and rerun

Every trial that has finished stands in the storage; pre-trainings and mined patterns stand in
``--memory``, so a trial that shares them with an earlier one takes them over.
"""

import argparse
import tempfile

import optuna
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import DatasetRegenerator, PatternMiner
from sklearn_dr4sr.datasets import load_sequences, make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import SASRec


def search(sequences, n_trials, memory, storage=None, max_epochs=20, verbose=0):
    """Return the study, of which ``n_trials`` trials have finished, earlier runs included."""
    split = leave_one_out(sequences)
    score = ranking_scorer("ndcg@20")

    def objective(trial):
        pipe = Pipeline(
            [
                ("mine", PatternMiner(window_size=trial.suggest_int("window_size", 3, 6))),
                (
                    "regenerate",
                    DatasetRegenerator(
                        generative_probability=trial.suggest_float("gamma", 0, 0.5, step=0.1),
                        max_epochs=max_epochs // 2,
                        memory=memory,
                        random_state=0,
                    ),
                ),
                (
                    "recommend",
                    SASRec(
                        loss="ce",
                        dropout=trial.suggest_float("dropout", 0.1, 0.6),
                        lr=trial.suggest_float("lr", 3e-4, 1e-2, log=True),
                        max_epochs=max_epochs,
                        random_state=0,
                        verbose=verbose,
                    ),
                ),
            ],
            memory=memory,
        )
        # the validation items choose, here as in early stopping; the test items are not looked at
        pipe.fit(split.train, split.validation)
        return float(score(pipe, split.train, split.validation))

    study = optuna.create_study(
        study_name="dr4sr",
        storage=storage,
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
    )
    finished = [trial for trial in study.trials if trial.state.is_finished()]
    if len(finished) < n_trials:
        study.optimize(objective, n_trials=n_trials - len(finished))
    return study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="text file of sequences; default: made ones")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--storage", help="URL of Optuna's storage; default: in memory")
    parser.add_argument("--memory", help="folder of joblib's cache; default: a temporary one")
    parser.add_argument("--verbose", type=int, default=0)
    args = parser.parse_args()
    sequences = load_sequences(args.data) if args.data else make_sequences(400, 60, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        memory = args.memory or folder
        study = search(sequences, args.trials, memory, args.storage, verbose=args.verbose)
    print(f"NDCG@20 {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
