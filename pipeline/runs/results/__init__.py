"""The files under results/: one schema each, through which they are written and read.

Who publishes builds a model and writes it; who reads gets the same model back, or one sentence.
A file may hold more than its model, as one of a later version does; none is written with more.
"""
