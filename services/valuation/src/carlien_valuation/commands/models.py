"""`carlien-valuation models`: the model store, promotion and rollback, and the residual methods' scores."""

import argparse
import json
from pathlib import Path
from typing import Any

from carlien_common.domain.errors import invalid
from carlien_valuation.commands.options import quiet_tensorflow, say, write_json

EXAMPLE = """example:
  carlien-valuation models promote --store models --model candidate --report q3.json
  carlien-valuation models rollback --store models --reason "complaints from dealers"
  carlien-valuation models list --store models --json
  carlien-valuation models residual --report panel.json

A store is a folder of model directories and a link `current`, which CARLIEN_MODEL_DIR points at; the service takes a promoted model at
its next (rolling) restart. A model gets in only whole, loadable and judged by a calibration report as no worse than the one in service;
the first one, or one with --reason, without a report. `residual` keeps a report of panel-evaluate for ModelService (needs
CARLIEN_POSTGRES_DSN)."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "models", help="promote and roll back models", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    promote = actions.add_parser("promote", help="put a model in service")
    promote.add_argument("--model", required=True, type=Path, metavar="DIR")
    promote.add_argument("--report", type=Path, metavar="JSON", help="the calibration report that judged it")
    promote.add_argument("--reason", default="", help="promote without a report, and why")
    promote.set_defaults(run=_promote)
    rollback = actions.add_parser("rollback", help="back to the model before")
    rollback.add_argument("--reason", required=True)
    rollback.set_defaults(run=_rollback)
    listing = actions.add_parser("list", help="what is in the store")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    for action in (promote, rollback, listing):
        action.add_argument("--store", required=True, type=Path, metavar="DIR")
    residual = actions.add_parser("residual", help="keep a report of panel-evaluate for ModelService")
    residual.add_argument("--report", required=True, type=Path, metavar="JSON")
    residual.set_defaults(run=_residual)


def _promote(arguments: argparse.Namespace) -> int:
    quiet_tensorflow()
    from datetime import UTC, datetime

    from carlien_valuation.calibration.model_store import ModelStore

    report = _json(arguments.report) if arguments.report else None
    done = ModelStore(arguments.store).promote(arguments.model.resolve(), report, now=datetime.now(UTC), reason=arguments.reason)
    say(f"{done.version} is in service at the next restart{f', before it {done.previous}' if done.previous else ''}")
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    quiet_tensorflow()
    from datetime import UTC, datetime

    from carlien_valuation.calibration.model_store import ModelStore

    done = ModelStore(arguments.store).rollback(now=datetime.now(UTC), reason=arguments.reason)
    say(f"back to {done.version} from {done.previous} at the next restart")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from dataclasses import fields

    from carlien_valuation.calibration.model_store import ModelStore, Promotion
    from carlien_valuation.training.store import read_card

    store = ModelStore(arguments.store)
    current = store.current
    cards = [read_card(directory) for directory in store.directories()]
    models = [
        {"model_version": card["model_version"], "current": card["model_version"] == current, "data_cutoff": card["data"]["cutoff"],
         "mape": card["out_of_fold"]["mape"], "coverage80": card["out_of_fold"]["coverage80"]}
        for card in cards
    ]  # fmt: skip
    history = [{field.name: getattr(entry, field.name) for field in fields(Promotion)} for entry in store.history()]
    if arguments.json:
        write_json(None, {"current": current, "models": models, "history": history})
        return 0
    for model in models:
        say(
            f"{'*' if model['current'] else ' '} {model['model_version']}  MAPE {model['mape']:.2f} %  coverage {model['coverage80']:.1f} %"
        )
    for entry in history:
        say(f"  {entry['at']} {entry['action']} {entry['version']} {entry['reason']}")
    return 0


def _residual(arguments: argparse.Namespace) -> int:
    import asyncio
    from datetime import UTC, datetime

    from carlien_valuation.adapters.own_database import own_database
    from carlien_valuation.adapters.postgres_reports import store_report

    report = _json(arguments.report)
    if not isinstance(report.get("overall"), list) or not report["overall"]:
        raise invalid("report", "REPORT_INVALID", f"{arguments.report} is no report of panel-evaluate")

    async def store() -> str:
        async with own_database("carlien-models") as connection:
            return await store_report(connection, "residual", "", report, datetime.now(UTC))

    say(f"kept as {asyncio.run(store())}")
    return 0


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise invalid("report", "REPORT_NOT_FOUND", f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise invalid("report", "REPORT_UNREADABLE", f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise invalid("report", "REPORT_UNREADABLE", f"{path} holds no report")
    return document
