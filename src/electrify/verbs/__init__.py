"""What a user can do, one verb a file, each readable from top to bottom; each returns data and prints nothing."""
