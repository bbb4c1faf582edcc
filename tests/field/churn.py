"""Inputs of ``churn/``: the true churn of the small pairs is 0.02262."""

from field.case import Case

RIGHT = r'"churn": 0\.0226[12]\d+, '


def _pair(name: str, ending: str, options: str, *says: str, code: int = 0) -> Case:
    files = f"{{field}}/churn/{name}_a.{ending} {{field}}/churn/{name}_b.{ending}"
    return Case(f"churn compare {files} {options} --json".replace("  ", " "), says, code)


def _gate(name: str, ending: str, options: str, *says: str, code: int = 0) -> Case:
    a, b = (f"{{field}}/churn/{name}_{each}.{ending}" for each in "ab")
    return Case(f"churn gate --production {a} --candidate {b} {options}", says, code)


CASES = [
    _pair("k01_user_id", "csv", "", "has no column id, but user_id", "--id-column=user_id", code=1),
    _pair("k01_user_id", "csv", "--id-column user_id", RIGHT),
    _pair("k02_index", "csv", "", "a column without a name: .*--id-column=''", code=1),
    _pair("k02_index", "csv", "--id-column=", RIGHT),
    _pair("k04_spark", "csv", "", "all 200 predictions are 0 or 1.* probability", code=1),
    _pair("k04_spark", "csv", "--prediction-column probability", RIGHT),
    _pair("f20_parquet", "parquet", "", RIGHT, '"ids": "number"'),
    _pair("f25_gznoname", "csv", "", RIGHT),
    _pair("f39_0to100", "csv", "", "look like per cent: --scale percent", code=1),
    _pair("f39_0to100", "csv", "--scale percent", RIGHT),
    _pair("f40_labelbool", "csv", "", RIGHT, '"log_loss": {"mean": 0.5'),
    _pair("g10_id2d", "h5", "", RIGHT),
    _pair("g18_textlabel", "h5", "", RIGHT, '"log_loss": {"mean": 0.5'),
    _pair("g06_avazu_sorted", "csv", "", '"rows": 60000', '"ids": "text"', '"churn": 0.01572923'),
    _pair("g06_avazu_sorted", "csv", "--ids number", "is not an integer .*--ids text", code=1),
    Case(
        "churn compare {field}/churn/g05_csvh5zeros_a.csv {field}/churn/g05_csvh5zeros_b.h5 --json",
        (RIGHT, '"ids": "text"'),
    ),
    _gate("f20_parquet", "parquet", "--max-churn 0.03", "churn .* kept", "PASSED: "),
    _gate("f39_0to100", "csv", "--scale percent --max-churn 0.02", "REFUSED: ", code=3),
]
