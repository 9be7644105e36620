"""Stages as Ray jobs: what is shipped to a cluster, followed there, and brought back."""
