"""Evaluation: exact counts of labels and predictions, and every metric as a pure function of them."""
