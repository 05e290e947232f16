"""Deep tabular models and boosted trees side by side: ``python -m benchmarks.run``.

Without arguments: six models with their defaults on California Housing and Adult, at most 10
minutes on two cores. The same command continues where it was stopped.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.errors import HarnessError, unknown
from benchmarks.files import writable_file, writable_folder, write_text
from benchmarks.models.registry import MODELS, add_models_of, of_preset
from benchmarks.report import pages as report
from benchmarks.report.table import collect, markdown
from benchmarks.runs import stages
from benchmarks.runs.display import Display
from benchmarks.runs.executors import Executor
from benchmarks.runs.results import CONFIGS, PAPER, PROTOCOLS, Experiment, Variant
from benchmarks.runs.tune import Search
from benchmarks.studies import find_study, frame_of, runs_of, study_names
from benchmarks.tables.datasets import ELEVEN, SMOKE, Source, with_split
from benchmarks.tables.sources import dataset_name
from tabdl.training.devices import choose_device, is_device

STAGES = ("tune", "evaluate", "ensemble", "report")
COMMANDS = ("all", *STAGES, "study")
SHIPPED = ("california_housing", "adult")
_NAMES = ("datasets", "protocol", "config", "seeds", "time_limit", "trials")
PRESETS = {
    name: dict(zip(_NAMES, values, strict=True)) | {"models": of_preset(name)}
    for name, values in {
        "quick": (SHIPPED, "plain", "default", (0,), 45.0, None),
        "paper": (tuple(ELEVEN), "paper", "tuned", tuple(range(15)), 0.0, None),
        "smoke": (tuple(SMOKE), "plain", "tuned", tuple(range(5)), 1.0, 3),
    }.items()
}
"""quick: a look in ten minutes. paper: its protocol on its eleven datasets. smoke: every stage on a
tiny table."""


def arguments(argv=None):
    """Return the parsed command line, with the preset filled in."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    stage = {"type": _one_of("stage", COMMANDS), "help": ", ".join(COMMANDS)}
    add("stage", nargs="?", default="all", **stage)
    add("study", nargs="?", metavar="STUDY", help=", ".join(study_names()))
    preset = {"type": _one_of("preset", PRESETS), "help": ", ".join(PRESETS)}
    add("--preset", default="quick", **preset)
    for part in (_add_data, _add_what, _add_search, _add_how):
        part(add)
    _add_study(parser.add_argument_group("of a study").add_argument)
    options = parser.parse_args(argv)
    _choose_models(parser, options)
    if options.stage == "study":
        return options
    if options.study is not None:
        parser.error(f"unrecognized arguments: {options.study}")
    if options.protocol is None and options.config == "paper-tuned":
        options.protocol = "paper"
    options.shares_time = options.preset == "quick" and options.time_limit is None
    for name, value in PRESETS[options.preset].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.data and options.target is None and not options.data.startswith("openml:"):
        parser.error("--data FILE needs --target COLUMN")
    return options


def _choose_models(parser, options):
    """Add the models of a file, and check the names of models."""
    try:
        added = add_models_of(options.model_file) if options.model_file else None
    except HarnessError as error:
        parser.error(str(error))
    options.models = options.models or added
    for name in options.models or ():
        if name not in MODELS:
            parser.error(f"argument --models: {unknown('model', name, list(MODELS))}")


def _add_data(add):
    add("--datasets", nargs="+", type=_one_of("dataset", (*ELEVEN, *SMOKE)), metavar="NAME")
    help = "a table of yours instead: FILE.csv, FILE.parquet or openml:NUMBER"
    add("--data", metavar="TABLE", help=help)
    add("--target", metavar="COLUMN", help="the column of --data to predict")
    help = """the column of --data with train, val and test (default: at random); without --data
        paper or later, the split of the later papers of its authors"""
    add("--split", metavar="COLUMN", help=help)
    tasks = ["regression", "binary", "multiclass"]
    add("--task", choices=tasks, help="of --data (default: by the target)")
    help = """the paper's arrays instead of public sources: a folder, authors or autogluon (both
        are downloaded)"""
    add("--archive", metavar="FOLDER", help=help)


def _add_what(add):
    add("--models", nargs="+", metavar="NAME", help=", ".join(MODELS))
    help = 'scikit-learn estimators of yours: MODELS = {"NAME": (classifier, regressor)}'
    add("--model-file", metavar="FILE.py", help=help)
    help = "parameters: the defaults, the paper's tuned ones, or the best of the stage tune"
    add("--config", type=_one_of("configuration", CONFIGS), help=help)
    help = "plain: as a user of each model trains it; paper: as the paper does"
    add("--protocol", type=_one_of("protocol", PROTOCOLS), help=help)
    help = """the models with other parameters as well: 'wide={"d_block": 512}' (may be repeated)"""
    repeated = {"action": "append", "default": []}
    add("--variant", **repeated, type=_variant, metavar="NAME=JSON", help=help)
    add("--seeds", nargs="+", type=int, metavar="SEED")
    help = """seconds of training a fit; 0: none (preset quick without it: 45 in the mean, what one
        fit leaves is the others')"""
    add("--time-limit", type=_at_least(float, 0), metavar="S", help=help)


def _add_search(add):
    help = "trials of a search (default: the paper's 100, or 50)"
    add("--trials", type=_at_least(int, 1), metavar="N", help=help)
    help = "of trials, added up, after which a search ends, if --trials does not end it before"
    add("--hours", type=_at_least(float, 0.001), metavar="H", help=help)
    add("--prune", action="store_true", help="end poor trials early (the paper does not)")
    seed = {"type": _at_least(int, 0), "default": 0, "metavar": "SEED"}
    add("--search-seed", **seed, help="another search")


def _add_how(add):
    help = "cpu, cuda, …; auto: a GPU if there is one"
    add("--device", default="auto", type=_device, help=help)
    folder = {"type": writable_folder, "metavar": "FOLDER"}
    add("--out", default=Path("results"), **folder, help="where runs go (default results/)")
    add("--force", action="store_true", help="do the runs of this command again")
    help = "processes on this machine (default 1)"
    add("--workers", default=1, type=_at_least(int, 1), metavar="N", help=help)
    add("--executor", default="local", choices=["local", "ray"])
    help = "of a Ray cluster (default: one is started here)"
    add("--ray-address", metavar="ADDRESS", help=help)
    add("--cpus", default=1.0, type=_at_least(float, 0), help="of a Ray task (default 1)")
    help = "of a Ray task; fractions share a GPU (default 1 on a GPU, else 0)"
    add("--gpus", type=_at_least(float, 0), help=help)
    help = "of an Optuna database, for workers on several machines"
    add("--storage", metavar="URL", help=help)
    add("--markdown", action="store_true", help="print the table in Markdown")


def _add_study(add):
    help = """tables NAME.parquet and their datasets.json; openml, which downloads small public
        tables; or synthetic (default: the two shipped tables, or what the study says)"""
    add("--folder", help=help)
    add("--tables", nargs="+", metavar="NAME", help="in that folder")
    rows = {"type": _at_least(int, 20), "metavar": "N", "help": "training and validation"}
    add("--rows", nargs="+", **rows)
    add("--only", nargs="+", metavar="NAME", help="some of what it compares")
    help = "the answer goes there, and its runs beside it as .jsonl"
    add("--report", type=writable_file, metavar="FILE", help=help)


def _variant(text):
    name, sign, settings = text.partition("=")
    try:
        parameters = json.loads(settings) if sign else None
        if not isinstance(parameters, dict):
            raise ValueError("no JSON object follows its name")
        return Variant(name, parameters)
    except (ValueError, HarnessError) as error:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no variant: NAME={{"PARAMETER": VALUE}} ({error})'
        ) from None


def _one_of(what, choices):
    def name(text):
        if text in choices:
            return text
        raise argparse.ArgumentTypeError(unknown(what, text, list(choices)))

    return name


def _at_least(kind, low):
    def number(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not value >= low:
            raise argparse.ArgumentTypeError(
                f"must be {'an int' if kind is int else 'a number'} >= {low}, got {text!r}"
            )
        return value

    return number


def _device(text):
    if text != "auto" and not is_device(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no device (auto, cpu, cuda, cuda:1, mps)")
    try:
        return str(choose_device(text, "--device"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def experiments(options):
    """Return what to run, and a line for each model that is left out, because the paper has no
    tuned configuration of it."""
    if options.data:
        name = dataset_name(options.data)
        name = f"my_{name}" if name in ELEVEN else name  # the paper's figures are not of this table
        sources = [Source(name, None, options.data, options.target, options.split, options.task)]
    else:
        sources = [_source(name, options) for name in options.datasets]
    settings = options.config, str(options.device), options.time_limit or None, str(options.out)
    found = [
        Experiment(source, model, *settings, variant, options.protocol, options.shares_time)
        for source in sources
        for model in options.models
        for variant in (None, *options.variant)
    ]
    reasons = {e: reason for e in found if (reason := why_not(e)) is not None}
    return [e for e in found if e not in reasons], [
        f"{e.source.name} {e.name}: {reason}" for e, reason in reasons.items()
    ]


def _source(name, options):
    split = options.split or "paper"
    if split not in ("paper", "later"):
        raise HarnessError(f"--split COLUMN is of --data; else it is paper or later, not {split!r}")
    if split == "later":
        return with_split(name, split)
    return Source(name, options.archive)


def why_not(experiment):
    """Return why the paper's protocol leaves an experiment out; None where it does not."""
    here = PAPER["unsupported"].get(experiment.source.name, {}).get(experiment.model, {})
    kind = "search" if experiment.config == "tuned" else experiment.config
    if experiment.config == "paper-tuned" and experiment.published is None:
        return "the paper has none"
    return here.get(kind) if experiment.protocol == "paper" else None


def execute(options, console):
    """Do the stages; return the plan with what failed."""
    wanted = STAGES if options.stage == "all" else (options.stage,)
    with Display(console, options.workers) as display:
        plan = make_plan(options, display)
        stages.check(plan, wanted)
        if options.force:
            stages.remove(plan, wanted)
        if "tune" in wanted:
            stages.tune(plan)
        if "evaluate" in wanted:
            stages.evaluate(plan)
        if options.stage == "ensemble" or ("ensemble" in wanted and len(options.seeds) >= 5):
            stages.ensemble(plan)
    if "report" in wanted:
        table = collect(options.out)
        report.write(table, options.out)
        show(table, plan, options.markdown, console)
    return plan


def study(options, console):
    """Make the runs of a study that are not there and print its answer; return the plan."""
    asked = find_study(options.study)
    runs = runs_of(asked, options.study, options)
    with Display(console, options.workers) as display:
        plan = plan_of(options, display, list(dict.fromkeys(e for e, _ in runs)), [])
        stages.check(plan, ("evaluate",) if asked.draw is None else ("evaluate", "report"))
        if options.force:
            stages.remove_runs(runs)
        stages.evaluate_runs(plan, [run for run in runs if not plan.has_failed(run[0])])
    frame = frame_of(runs)
    if frame.empty:
        raise HarnessError(f"study {options.study}: none of {len(runs)} runs could be made")
    command = shlex.join(["python", "-m", "benchmarks.run", *options.argv])
    text = f"# {asked.question}\n\n`{command}`\n\n{asked.answer(frame)}\n"
    path = options.report or options.out / "report" / f"{options.study}.md"
    write_text(path, text)
    lines = frame.drop(columns=["history", "val", "members"]).to_json(orient="records", lines=True)
    write_text(path.with_suffix(".jsonl"), lines)
    if asked.draw is not None:
        asked.draw(frame, path.with_suffix(".png"))
    print(f"{text}\n{path}")
    return plan


def make_plan(options, display):
    """Return what the command line asks for; say what is left out."""
    wanted, left_out = experiments(options)
    if not wanted:
        raise HarnessError(f"nothing to do: {'; '.join(left_out)}")
    for line in left_out:
        display.say(f"left out: {line}")
    return plan_of(options, display, wanted, list(options.seeds))


def plan_of(options, display, wanted, seeds):
    """Return a plan for experiments."""
    gpus = float(options.device.startswith("cuda")) if options.gpus is None else options.gpus
    executor = Executor(options.executor, options.workers, options.ray_address, options.cpus, gpus)
    search = Search(
        options.trials, options.prune, options.search_seed, options.storage, hours=options.hours
    )
    return stages.Plan(wanted, seeds, search, executor, display)


def show(table, plan, as_markdown, console):
    """Print the scores of this command's runs."""
    lines = report.lines_of(table, plan.experiments)
    if as_markdown:
        print(markdown(lines))
        return
    printed = Table()
    for i, heading in enumerate(lines.columns):
        printed.add_column(heading, justify="left" if i < 3 else "right")
    for line in lines.itertuples(index=False):
        printed.add_row(*line)
    console.print(printed)
    console.print(report.footnote(table, plan.experiments), highlight=False)


def main(argv=None):
    """Run what the command line asks for; return the exit status."""
    options = arguments(argv)
    options.argv = sys.argv[1:] if argv is None else argv
    console = Console()
    if not console.is_terminal:
        console.width = 180  # a file or a pipe has no width of its own
    try:
        plan = (study if options.stage == "study" else execute)(options, console)
    except KeyboardInterrupt:
        console.print("interrupted; the same command continues from here")
        return 130
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if plan.failures:
        print(f"{len(plan.failures)} failed: {', '.join(plan.failures)}", file=sys.stderr)
    return 1 if plan.failures else 0


if __name__ == "__main__":
    sys.exit(main())
