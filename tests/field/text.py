"""Inputs of text/."""

from field.case import Case

TEXT = "data commoncrawl {field}/text/"

CASES = [
    Case(
        TEXT + "a10f_md5.warc.wet.gz --output {out}",
        (r"documents kept +40\n", r"damaged places +0\n"),
        not_says=("not checked",),
    ),
    Case(
        TEXT + "a10h_blake3.warc.wet.gz --output {out}",
        (r"documents kept +40\n", r"digests not checked: blake3 +40\n"),
    ),
    Case(TEXT + "a12_metafirst.warc.wet.gz --output {out}", (r"documents kept +40\n",)),
    Case(
        TEXT + "a13_crawl.arc.gz --output {out}",
        ("no document was kept", "an ARC file"),
        code=1,
    ),
    Case(
        TEXT + "a13_crawl.arc.gz {field}/text/docs.jsonl --output {out}",
        (r"documents kept +40\n", r"damaged: a13_crawl\.arc\.gz, whole source: an ARC file"),
    ),
    Case(
        TEXT + "shard-0000*.jsonl --output {out}",
        (r"documents kept +40\n", r"duplicates +0\n"),
    ),
    Case(
        TEXT + "j01_content.jsonl --output {out}",
        (r"40 damaged \(no field 'text' 40\)", "the fields are 'content'", "--text-field NAME"),
        code=1,
    ),
    Case(
        TEXT + "j01_content.jsonl --text-field content --output {out}",
        (r"documents kept +40\n",),
    ),
    Case(
        TEXT + "docs.jsonl --document-ids {field}/text/ids_space.txt --output {out}",
        (r"documents kept +20\n", "20 of 20 listed documents were found"),
    ),
    Case(
        TEXT + "hid --output {out}",
        (r"files and folders left alone +2\n", r"documents kept +40\n", r"\.snapshot"),
    ),
    Case(TEXT + "g06_bz2.jsonl.bz2 --output {out}", (r"documents kept +40\n",)),
]
