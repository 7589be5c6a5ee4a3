"""
============================================
A torch module of one's own as a recommender
============================================

:class:`~sklearn_dr4sr.recommenders.SequentialRecommender` turns a torch module into an estimator:
losses, length groups, early stopping, ranking and persistence are its own. Here the module is a
stack of dilated causal convolutions in the manner of NextItNet [1]_, written without a thought of
this package; eight lines adapt it.

.. [1] Yuan, Karatzoglou, Arapakis, Jose and He, "A Simple Convolutional Generative Network for
   Next Item Recommendation", WSDM 2019.
"""

# %%
# The foreign module
# ------------------
# It maps tokens to hidden states, as any network for sequences does. What matters is that the state
# at a position depends on the tokens up to it alone: here, every convolution is padded on the left.

import matplotlib.pyplot as plt
from torch import nn

from sklearn_dr4sr.baselines import MarkovChain, Popularity
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import RankBlend, SASRec, SequentialRecommender


class ConvolutionalNetwork(nn.Module):
    def __init__(self, vocabulary_size, width, dilations, kernel_size=3):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary_size, width)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, kernel_size, dilation=dilation) for dilation in dilations
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in dilations)
        self.dropout = nn.Dropout(0.3)

    def forward(self, tokens):  # (batch, time) -> (batch, time, width)
        x = self.dropout(self.tokens(tokens))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            reach = layer.dilation[0] * (layer.kernel_size[0] - 1)
            past = nn.functional.pad(x.transpose(1, 2), (reach, 0))  # (batch, width, reach + time)
            x = norm(x + self.dropout(layer(past).transpose(1, 2).relu()))
        return x


# %%
# The adapter
# -----------
# A recommender's module is built with the number of items, encodes right-padded ids, and shows the
# embedding that scores them: one row an item, and one for the padding.


class Adapter(nn.Module):
    def __init__(self, n_items, width=32, dilations=(1, 2)):
        super().__init__()
        self.network = ConvolutionalNetwork(n_items + 1, width, dilations)
        self.item_embedding = self.network.tokens
        nn.init.normal_(self.item_embedding.weight, std=0.02)

    def encode(self, ids, lengths):
        return self.network(ids)


# %%
# Fit and rank
# ------------
# Parameters of the module are ``module__...`` parameters of the estimator, so that pipelines and
# searches can set them. The estimator goes wherever one of the package's own does, such as into a
# blend with counted transitions, which are hard to beat on data as small as this.

split = leave_one_out(make_sequences(600, 150, random_state=0))
training = {"loss": "ce", "lr": 3e-3, "batch_size": 64, "max_epochs": 15, "patience": 3}
convolutions = SequentialRecommender(
    Adapter, module__dilations=(1, 2, 4), random_state=0, **training
)
models = {
    "popularity": Popularity(),
    "Markov chain": MarkovChain(),
    "SASRec": SASRec(dropout=0.2, random_state=0, **training),
    "convolutions": convolutions,
    "blend": RankBlend([("network", convolutions), ("counts", MarkovChain())]),
}
score = ranking_scorer("recall@20", "ndcg@20")
for name, model in models.items():
    model.fit(split.train, split.validation)
    found = score(model, split.history, split.test)
    print(f"{name:13s}  recall@20 {found['recall@20']:.3f}   ndcg@20 {found['ndcg@20']:.3f}")

# %%
# Both neural models keep the weights of their best epoch on the validation items.

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name in ("SASRec", "convolutions"):
    model = models[name]
    epochs = [epoch["epoch"] for epoch in model.history_]
    ndcg = [epoch["valid_ndcg"] for epoch in model.history_]
    (line,) = axes.plot(epochs, ndcg, label=name)
    best = model.best_epoch_ - 1
    axes.plot(epochs[best], ndcg[best], "o", color=line.get_color())
axes.set(xlabel="epoch", ylabel="validation NDCG@20")
axes.legend(frameon=False)
plt.show()
