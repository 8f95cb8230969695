"""Data set formats: VOC, COCO, a folder of your own, and the readers of their labels."""
