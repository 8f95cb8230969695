"""PartShapes, the synthetic data set of the demo."""
