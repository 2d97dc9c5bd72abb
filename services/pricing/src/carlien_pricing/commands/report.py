"""HTML reports: one file, plots inside, no network."""

import base64
import io
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:980px;margin:2rem auto;padding:0 1rem;color:#1c2733}
table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{padding:.35rem .6rem;border-bottom:1px solid #dfe5ea;text-align:right}
th:first-child,td:first-child{text-align:left}th{background:#f3f6f8}img{max-width:100%}.note{color:#5b6b79}
</style></head><body><h1>{{ title }}</h1><p class="note">{{ note }}</p>
{% for table in tables %}<h2>{{ table.title }}</h2><table><tr>{% for name in table.header %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table>{% endfor %}
{% for plot in plots %}<h2>{{ plot.title }}</h2><img alt="{{ plot.title }}" src="data:image/png;base64,{{ plot.data }}">{% endfor %}
</body></html>
"""


def render(title: str, note: str, tables: Sequence[dict[str, Any]], plots: Sequence[dict[str, str]]) -> str:
    """The page; tables have title, header, rows; plots have title, data (base64 PNG)."""
    template = Environment(autoescape=True).from_string(_TEMPLATE)
    return template.render(title=title, note=note, tables=tables, plots=plots)


def plot(title: str, draw: Any) -> dict[str, str]:
    """Runs draw(axes) and returns the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4))
    draw(axes)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return {"title": title, "data": base64.b64encode(buffer.getvalue()).decode()}
