"""``hvcod data commoncrawl``: which documents are kept, and how they become token shards."""
