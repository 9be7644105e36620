"""ADEChallengeData2016, and any data set with index masks in that layout."""
