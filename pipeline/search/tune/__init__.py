"""The search of a space of settings."""
