"""What a run would cost, before anything runs: which stages, how many images and steps, what disk,
how many hours; and each published row beside the variant that reproduces it, with its cost.

Reads params, manifests, finished runs and measured speeds; writes nothing, starts nothing.
"""
