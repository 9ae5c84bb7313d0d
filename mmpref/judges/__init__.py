"""Whoever ranks, rewrites or checks answers: models behind an endpoint, local models, plugins, functions."""
