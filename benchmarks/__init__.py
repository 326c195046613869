"""Programs that measure ALEN; each writes what it measured, and on what."""
