"""LIDC: CT crops with the masks of four raters, in the layouts that users have."""
