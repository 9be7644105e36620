"""CIFAR-10: small photographs of ten kinds."""
