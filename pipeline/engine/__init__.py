"""The training engine: one loop for every task, and the state that must survive."""
