"""What a run would cost, before anything runs: which stages, how many images and steps, what disk,
how many hours.

Reads params, manifests, finished runs and measured speeds; writes nothing, starts nothing.
"""
