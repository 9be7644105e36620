"""ImageNet-1K, and any data set in folders per class."""
