"""Personalization of a data set for its target model (Section 4.3 of the paper)."""

from .personalizer import DatasetPersonalizer

__all__ = ["DatasetPersonalizer"]
