"""Which mixers the questions are about."""

STATIC = ("dwnet",)
DYNAMIC = ("dynamic_dwnet", "i_dynamic_dwnet")
UNSHARED = ("locally_connected", "local_mlp")
ATTENTION = ("swin",)
