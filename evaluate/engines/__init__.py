"""Exact search: the best documents of each query, over documents that come in blocks, by FAISS or torch, on processors and cards."""
