"""The three dashboards, as code: `python charts/carlien/dashboards.py` writes files/dashboards/*.json; `--check` compares.

One reader each: who lends, who runs it, who answers for the models. What they ask is in panels.py.
"""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueTextMode, GraphTresholdsStyleMode, VizOrientation
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode, ValueMap, ValueMappingResult
from panels import DASHBOARDS, Panel, Shape

FOLDER = Path(__file__).parent / "files" / "dashboards"
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def _built(panel: Panel) -> timeseries.Panel | stat.Panel | bargauge.Panel:
    small = panel.shape in (Shape.NUMBER, Shape.NAME)
    kind = _shaped(panel)
    kind = kind.title(panel.title).description(panel.description).unit(panel.unit).datasource(_SOURCE)
    kind = kind.span(4 if small else 8).height(4 if small else 8)
    if panel.decimals is not None:
        kind = kind.decimals(panel.decimals)
    # Where nothing is said, Grafana paints every number from 80 on red.
    colours = panel.colours or (() if panel.shape is Shape.OVER_TIME else ((None, "text"),))
    if colours:
        steps = [Threshold(value, colour) for value, colour in colours]
        kind = kind.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.words:
        kind = kind.mappings([ValueMap({f"{value:g}": ValueMappingResult(text, colour) for value, text, colour in panel.words})])
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + number))
        kind = kind.with_target(target.range() if panel.shape is Shape.OVER_TIME else target.instant())
    return kind


def _shaped(panel: Panel) -> timeseries.Panel | stat.Panel | bargauge.Panel:
    if panel.shape is Shape.OVER_TIME:
        over_time = timeseries.Panel()
        if panel.colours:
            over_time = over_time.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
        return over_time
    if panel.shape is Shape.BARS:
        return bargauge.Panel().orientation(VizOrientation.HORIZONTAL)
    return stat.Panel().text_mode(BigValueTextMode.NAME if panel.shape is Shape.NAME else BigValueTextMode.VALUE)


def rendered(name: str) -> str:
    """Return the JSON of one dashboard."""
    title, panels = DASHBOARDS[name]
    board = dashboard.Dashboard(title).uid(f"carlien-{name}").tags(["carlien"]).refresh("30s").time("now-6h", "now").timezone("browser")
    board = board.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for panel in panels:
        board = board.with_panel(_built(panel))
    return json.dumps(json.loads(JSONEncoder(sort_keys=True).encode(board.build())), indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write every dashboard, or with --check say which is out of date (exit 1)."""
    check = "--check" in sys.argv[1:]
    stale = []
    for name in DASHBOARDS:
        file = FOLDER / f"{name}.json"
        text = rendered(name)
        if check and (not file.is_file() or file.read_text() != text):
            stale.append(file.name)
        elif not check:
            FOLDER.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run python {Path(__file__).name}\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
