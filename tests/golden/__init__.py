"""What short runs of this code give, kept to the bit."""
