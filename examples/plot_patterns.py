"""
===================================
Pictures of a regenerated data set
===================================

What do mining and regeneration make of a data set, and what for? The displays of
:mod:`sklearn_dr4sr.plotting` answer in pictures. Each has a method that computes and draws, and
``plot(ax=...)`` to draw again; ``ax_`` and ``figure_`` are matplotlib's own.
"""

# %%
# Mine and regenerate
# -------------------
# Made sequences with a planted grammar: small, so that this page is made in seconds. The last two
# items of each are held out. ``memory`` is where the pre-training is kept, for a search below.

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import DatasetPersonalizer, DatasetRegenerator, PatternMiner
from sklearn_dr4sr.baselines import MarkovChain, Popularity
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.plotting import (
    HistoryDisplay,
    HitRateDisplay,
    LearningCurveDisplay,
    ParameterCurveDisplay,
    PatternLengthDisplay,
    PatternSupportDisplay,
    PatternWeightsDisplay,
    PopularityDisplay,
)
from sklearn_dr4sr.recommenders import GRU4Rec, SASRec

split = leave_one_out(make_sequences(300, 80, random_state=0))
miner = PatternMiner(window_size=4, min_support=3)
mined = miner.fit_transform(split.train)
memory = tempfile.TemporaryDirectory()
regenerator = DatasetRegenerator(
    diversity_factor=5,
    generative_probability=0.3,
    embedding_dim=32,
    max_epochs=8,
    memory=memory.name,
    random_state=0,
)
data = regenerator.fit_transform(mined)

# %%
# Patterns by length
# ------------------
# What trains is far shorter than the histories were: most patterns have two items.

figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
display = PatternLengthDisplay.from_dataset(data, max_length=12, ax=axes[0])
display.plot(axes[1], kind="law")
plt.show()

# %%
# How many mined patterns a higher ``min_support`` would leave, without mining again:

PatternSupportDisplay.from_estimator(miner)
plt.show()

# %%
# One user
# --------
# The history, and below it the patterns that stand for it. The small number is an item's place in
# the history; an item with a thick frame was chosen from the whole catalogue.
# ``data.explain(row)`` tells the same as text.

table = data.table
of_free_item = table.source[table.sequences.rows[table.is_generative]]
n_free = np.bincount(of_free_item, minlength=len(data))
n_mined = np.bincount(data.source[data.origin == "mined"], minlength=len(data))
row = int(np.argmax(n_free * (n_mined > 2)))
HistoryDisplay.from_dataset(data, row, max_patterns=9)
plt.show()

# %%
# Popular items
# -------------
# Mining keeps what many users share, and so makes popular items more popular still.

PopularityDisplay.from_dataset({"mined": mined, "regenerated": data})
plt.show()

# %%
# Training
# --------
# The regenerator learns in two modes; its memories are all in use (their mean use keeps its
# entropy) while each pattern grows sure of its own.

LearningCurveDisplay.from_estimator(regenerator)
plt.show()

# %%
# Weights for a model
# -------------------
# A personalizer weighs the targets for one model, so two models get two data sets. These have been
# trained for a moment only: what they prefer here says little, and weights of a network that was
# never trained (``upper_lr=0``) vary, too.

small = {"loss": "ce", "max_epochs": 4, "lr": 3e-3, "random_state": 0}
personalizers = [
    DatasetPersonalizer(model(**small), warmup_epochs=1, inner_steps=5, random_state=0).fit(data)
    for model in (SASRec, GRU4Rec)
]
PatternWeightsDisplay.from_estimator(personalizers, data, by="length")
PatternWeightsDisplay.from_estimator(personalizers, data, by="position", random_state=0)
plt.show()

# %%
# A search over γ
# ---------------
# Only decoding reads γ, so that with ``memory`` one pre-training serves all its values: the one
# above. The paper's Figures 6 and 7 are such curves; here a Markov chain, which counts, takes the
# neural model's place. On 300 users 0.01 of recall is three users: this curve is noise.

pipe = Pipeline([("mine", miner), ("regenerate", regenerator), ("recommend", MarkovChain())])
search = GridSearchCV(
    pipe,
    {"regenerate__generative_probability": [0, 0.1, 0.3, 0.5, 1]},
    cv=LeaveLastOut(),
    scoring=ranking_scorer("recall@20", "ndcg@20"),
    refit="ndcg@20",
).fit(split.train, split.validation)
memory.cleanup()
search

# %%
# The question marks in this picture of the estimators lead to their pages in the reference.

ParameterCurveDisplay.from_search(search, "regenerate__generative_probability")
plt.show()

# %%
# For whom
# --------
# The mean over all users hides where a recommender finds the next item, and where it does not.

models = {
    "Markov chain, original": MarkovChain().fit(split.train),
    "Markov chain, regenerated": MarkovChain().fit(data),
    "popularity": Popularity().fit(split.train),
}
HitRateDisplay.from_estimator(models, split.history, split.test, k=10)
plt.show()
