"""What may name a document: the store's rule, for those who know no store."""

from mbc_store.identifiers import id_problem, is_unicode

__all__ = ["id_problem", "is_unicode"]
