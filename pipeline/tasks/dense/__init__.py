"""What detection and segmentation share: networks on a classification backbone, geometry of images
and masks.
"""
