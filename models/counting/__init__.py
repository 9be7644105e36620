"""MACs and parameters of networks, and networks made to have equal ones."""
