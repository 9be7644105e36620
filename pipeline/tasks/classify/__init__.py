"""Classification of whole images."""
