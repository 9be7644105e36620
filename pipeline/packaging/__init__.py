"""Results as one RO-Crate, with Croissant metadata of the data sets; no image is in it."""
