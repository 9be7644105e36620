"""Pictures of predictions, for people: plain arrays in, PIL images out, the same bytes for the same
arrays.
"""
