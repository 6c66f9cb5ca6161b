"""The page that people read: one file that needs nothing beside it."""
