"""Inputs as people of this trade have them, one numbered case each, through the commands themselves."""
