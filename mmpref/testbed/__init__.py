"""A drawn world of everyday scenes with known truth, and the small vision-language model that was trained on it."""
