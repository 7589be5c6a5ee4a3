"""Target models: sequential recommenders with fit and predict."""

from .base import SequentialRecommender
from .bsarec import BSARec
from .cl4srec import CL4SRec
from .fmlp import FMLP
from .gnn import GNN
from .gru4rec import GRU4Rec
from .onnx_export import to_onnx
from .rank_blend import RankBlend
from .rank_stack import RankStack
from .sasrec import SASRec

__all__ = [
    "FMLP",
    "GNN",
    "BSARec",
    "CL4SRec",
    "GRU4Rec",
    "RankBlend",
    "RankStack",
    "SASRec",
    "SequentialRecommender",
    "to_onnx",
]
