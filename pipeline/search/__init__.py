"""Many settings tried side by side: what there is to try, one trial, and the driver that runs them
all.

`space` and `design` list trials without Ray or torch; `trial` is one of them in a process of Ray's;
`driver` runs them; `book` remembers between commands how each ended; `recording` is its hand on
MLflow; `publish` and `pictures` make results of them.
"""
