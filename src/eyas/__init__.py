"""Labelled images, an unlabelled pile and a device budget in; the most accurate model that fits the device out."""

__version__ = "0.1.0"
