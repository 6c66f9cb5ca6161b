"""The web application that asks people who wrote the articles of a study."""
