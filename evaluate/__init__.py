"""Floor 1: dumps, search, ground truth, metrics, report, comparison. numpy, h5py, FAISS; torch for fast searches and jobs alone, no model."""
