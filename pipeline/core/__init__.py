"""What everything else stands on: errors, whole files, locks, failpoints, the watchdog; knows no
params.
"""
