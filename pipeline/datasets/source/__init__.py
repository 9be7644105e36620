"""Where raw bytes lie: folders and archives as one kind of tree."""
