"""Parts of `scripts/real_prior.py`: a language model of the world of texts, and the eyes that it is given."""
