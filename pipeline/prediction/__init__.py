"""Published networks at work on pictures that are in no data set: what is read and written."""
