"""Detection and instance segmentation with Cascade Mask R-CNN."""
