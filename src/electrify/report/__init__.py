"""Results as pages that a browser opens without a network."""
