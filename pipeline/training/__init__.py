"""The training loop, its parts and evaluation; knows no task by name."""
