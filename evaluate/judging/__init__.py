"""What was found held against what is relevant: ground truth, metrics, intervals, comparisons."""
