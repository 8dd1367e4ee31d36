"""Classic: forests, support vectors, clusters, label spreading, self-training."""
