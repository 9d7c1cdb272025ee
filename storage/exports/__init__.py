"""Dataset versions in the formats that other tools read: one file a format, and the writing."""
