"""A temperature that is fitted to the validation rows."""

from benchmarks.studies import Study, entries

SCALED = {"plain": {}, "calibrated": {"calibrate": True}}
SIZES = {"k": 32, "d_block": 128, "numeric_embedding": "piecewise"}

STUDY = Study(
    "What is temperature scaling worth, in log loss of the test rows?",
    tables=("phoneme", "magic", "telco_churn", "credit_g", "adult", "letter"),
    rows=(3000,),
    compared=entries("mlp", SCALED, {"numeric_embedding": None}) + entries("tabm", SCALED, SIZES),
)
