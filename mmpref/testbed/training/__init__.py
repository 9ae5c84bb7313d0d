"""How the shipped checkpoint and the shipped embedder were made; ``scripts/train_testbed.py`` runs it."""
