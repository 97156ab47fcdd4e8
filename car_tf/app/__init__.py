"""The proposal page: a local server on which to see, choose and correct samples."""
