"""Where Ray runs, and the worker groups of Ray Train in it."""
