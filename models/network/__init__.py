"""The network around the mixers."""
