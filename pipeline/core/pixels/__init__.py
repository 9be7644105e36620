"""Pixels as Pillow gives them, quicker: JPEG files decoded, images resized and transformed."""
