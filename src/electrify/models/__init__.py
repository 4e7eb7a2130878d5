"""Networks: bodies, heads, and the published folders they come from and go to. They know no training."""
