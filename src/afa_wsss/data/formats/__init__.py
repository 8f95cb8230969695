"""Data sets on disk: VOC, COCO, a folder of one's own, and what reads their labels."""
