"""The tasks: each a folder with its model, sampling, loss and metrics."""
