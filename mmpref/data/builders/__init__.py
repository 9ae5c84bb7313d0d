"""Methods of making preference data, one file each."""

FORMER_NAMES = {"unrelated-text": "mismatched"}
