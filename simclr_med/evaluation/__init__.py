"""What a run is worth: features, scores, metrics, comparisons, probes and the report."""
