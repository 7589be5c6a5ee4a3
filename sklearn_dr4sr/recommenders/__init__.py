"""Target models: sequential recommenders with fit and predict."""

from .base import SequentialRecommender
from .bsarec import BSARec
from .sasrec import SASRec

__all__ = ["BSARec", "SASRec", "SequentialRecommender"]
