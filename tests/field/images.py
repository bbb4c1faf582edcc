"""Inputs of images/."""

from field.case import Case

CASES = [
    Case("data imagenet {field}/images/11c_pzstd.tar.zst --output {out}", (r"images kept +90\n",)),
    Case(
        "data imagenet {field}/images/01_ipynb --output {out}",
        (r"classes +3\n", r"folders left alone +1\n", r"not entered: \.ipynb_checkpoints"),
    ),
    Case(
        "data imagenet {field}/images/15c_seg --output {out}",
        (r"classes +3\n", r"  test +15\n", r"seg_test is test, .*seg_train is training"),
    ),
    Case(
        "data imagenet {field}/images/06_flat --labels {field}/images/06_labels/quoted.csv "
        "--output {out}",
        (r"names in --labels +12\n", r"  images that they fit +12\n"),
    ),
    Case(
        "data imagenet {field}/images/11h_links.tar --output {out}",
        (r"links in tar files, left out +2\n", r"links left out: "),
    ),
]
