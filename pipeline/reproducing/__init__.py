"""Each published row beside the variant that reproduces it, and what that would cost."""
