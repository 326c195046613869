"""Classical processing, the opponents every network has to beat: LibRaw's own, and tuned non-local means."""
