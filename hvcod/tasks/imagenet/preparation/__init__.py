"""From folders and tar files to packed images."""
