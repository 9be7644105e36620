"""Many settings tried side by side: what there is to try, one trial, and the driver that runs them
all.

`space` and `design` list trials without Ray or torch; `trial` is one of them in a process of Ray's;
`driver` runs them, and `watched` refuses what DVC would not see change; `journal` remembers between
commands how each ended; `tracking` is its hand on MLflow; `publish` and `pictures` make results of
them.
"""
