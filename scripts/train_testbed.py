"""Train the testbed's checkpoint and embedder from nothing: python scripts/train_testbed.py --output DIR [--seed N]"""

from mmpref.testbed.training.run import main

if __name__ == "__main__":
    main()
