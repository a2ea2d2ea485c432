"""Tar files of pictures: finding, fetching, indexing and reading them."""
