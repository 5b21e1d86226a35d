"""Floor 1: dumps, search, ground truth, metrics, report, comparison. numpy, h5py, FAISS; no model and no torch module."""
