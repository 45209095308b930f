"""Scenes: images of many bands with a reference that gives some of the pixels a class."""
