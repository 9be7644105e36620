"""The authors' weights: read without running anything, and renamed."""
