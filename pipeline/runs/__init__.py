"""A run: what decides it, its scratch folder, its checkpoints, and what it publishes."""
