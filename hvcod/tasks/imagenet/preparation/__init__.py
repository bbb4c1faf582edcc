"""``hvcod data imagenet``: folders and tar files become packed images."""
