"""Semantic segmentation with UPerNet."""
