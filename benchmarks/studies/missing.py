"""A feature that says where a number is missing."""

from benchmarks.studies import Study, entries

HOW = {name: {"numeric_missing": name} for name in ("impute", "indicator")}
SMALL = {"n_blocks": 2, "d_block": 96, "numeric_embedding": None, "batch_size": 128, "lr": 2e-3}
COMPLETE = ("california_housing", "adult", "phoneme", "magic", "cpu_act")

STUDY = Study(
    "Does an indicator of missing numbers help? (holes: most large numbers were removed)",
    tables=(
        *("weather_aus", "ames_housing", "lending_club_rate", "california_housing_raw"),
        *COMPLETE,
    ),
    changed=dict.fromkeys(COMPLETE, "holes"),
    rows=(2500,),
    compared=entries("mlp", HOW, SMALL | {"precision": "float32"}),
)
