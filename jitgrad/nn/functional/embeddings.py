"""Embeddings as functions."""

from __future__ import annotations

from jitgrad.ops.embeddings import embedding, embedding_bag, one_hot

__all__ = ["embedding", "embedding_bag", "one_hot"]
