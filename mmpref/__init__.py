"""mmpref: preference data, alignment and evaluation for vision-language models."""

from importlib.metadata import version as _version

__version__ = _version("mmpref")
