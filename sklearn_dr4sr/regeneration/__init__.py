"""Dataset regeneration (section 4.2 of the paper)."""

from .regenerator import DatasetRegenerator

__all__ = ["DatasetRegenerator"]
