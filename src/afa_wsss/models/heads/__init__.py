"""The branches that read a backbone: affinity and segmentation."""
