"""Studies: plans of rows, run over bases and seeds, measured into one ledger."""
