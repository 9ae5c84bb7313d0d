"""The functions of ``import mmpref``: what the commands do, for notebooks and programs. The commands call them too."""
