"""A rehearsal of a params file: everything that it would train, for two steps, before hours are
spent on any of it.
"""
