"""Target models: sequential recommenders with fit and predict."""

from .base import SequentialRecommender
from .sasrec import SASRec

__all__ = ["SASRec", "SequentialRecommender"]
