"""Where models and adapters come from: commits, licences, files and earlier data, without loading any weights."""
