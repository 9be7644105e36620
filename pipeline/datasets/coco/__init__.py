"""COCO 2017, and any data set with annotations in COCO's form."""
