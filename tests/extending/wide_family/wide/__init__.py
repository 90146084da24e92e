"""A family whose stages have elastic widths, beside that of its stem and head: genes that several parts share."""
