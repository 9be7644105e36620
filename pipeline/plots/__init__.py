"""What the pictures of search and report share."""
