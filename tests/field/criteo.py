"""Inputs of criteo/."""

from field.case import Case

ROWS = "data criteo {field}/criteo/"

CASES = [
    Case(ROWS + "01_csv_label.csv --output {out}", (r"\nrows +600\n", r"27\.\d+% clicks")),
    Case(
        ROWS + "02_floats.tsv --output {out}",
        (r"600 lines read, 600 malformed \(integer 600\)", r"line 1: I1 '198\.0'", "--decimals"),
        code=1,
    ),
    Case(
        ROWS + "02_floats.tsv --decimals --output {out}",
        (r"\nrows +600\n", r"27\.\d+% clicks"),
        not_says=("malformed",),
    ),
    Case(
        ROWS + "04b_pm1.tsv --output {out}",
        (r"\nrows +600\n", r"27\.\d+% clicks", "434 labels -1, 166 labels 1"),
    ),
    Case(
        ROWS + "07j_official.tar.gz --output {out}",
        (
            r"\nrows +2,400\n",
            r"left alone +2\n",
            r"readme\.txt",
            r"test\.txt \(rows without labels",
        ),
    ),
    Case(ROWS + "08b_days --output {out}", (r"\nrows +600\n",)),
]
