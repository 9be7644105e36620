"""Many settings tried side by side: what there is to try, one trial, and the driver that runs them
all.

`space` and `design` list trials without Ray or torch; `trial` is one of them in a process of Ray's;
`driver` runs them, and `watched` refuses what DVC would not see change; `journal` remembers between
commands how each ended; `tracking` is its hand on MLflow; `publish` and `pictures` make results of
them.

Who decides that a trial is over:

- its training: `trial.TuneTrial.step` returns a last word, `finished`, or `failed` with a sentence
  where it cannot go on or cannot be judged;
- the scheduler (`tune.scheduler`): Ray Tune stops the trial after an evaluation, without a last
  word, which is `stopped`;
- Ray Tune, once the trial's process died more often than `cluster.max_failures`: `failed`.

`following.Following` hears all three in the driver's process and writes the ending into the
journal. From then on `journal.Journal.ending` says how a trial ended, to everybody; a run that has
a record of its own as finished is finished, whatever was noted. The next command forgets failures
and tries those trials again.
"""
