"""The board and the containers of deploy/: read as far as that goes without starting them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from onrecord.telemetry.instruments import METRICS
from tests.test_telemetry import first_cells

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
BOARD = DEPLOY / "grafana" / "onrecord.json"
UNITS = {"s": "seconds", "By": "bytes"}
"""As Prometheus spells them; what stands in braces is no unit to it."""
PASSWORD = re.compile(r"^\$\{[A-Z_]+:\?[^}]+\}$")


def in_prometheus(name: str) -> set[str]:
    """The names of a metric there, by OpenTelemetry's rule: underscores for what is no letter or
    digit, the unit where the name does not have it, ``_total`` for what only grows."""
    metric = METRICS[name]
    parts = re.split(r"[^a-zA-Z0-9]+", name)
    unit = UNITS.get(metric.unit)
    if unit is None:
        assert metric.unit.startswith("{"), f"{metric.unit} is not in the table of units"
    elif unit not in parts:
        parts.append(unit)
    whole = "_".join(parts)
    match metric.kind:
        case "histogram":
            return {f"{whole}_{end}" for end in ("bucket", "sum", "count")}
        case "counter" | "total":
            return {f"{whole}_total"}
        case _:
            return {whole}


NAMES = {found: name for name in METRICS for found in in_prometheus(name)}


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Each query of the board, with the title of its panel."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in json.loads(BOARD.read_text(encoding="utf-8"))["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


def asked_for(query: str) -> tuple[set[str], set[str]]:
    """The metrics and the labels of a query."""
    labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", query))
    for group in re.findall(r"\bby \(([^)]*)\)", query):
        labels |= {label.strip() for label in group.split(",")}
    labels |= set(re.findall(r"label_values\([a-z_]+, ([a-z_]+)\)", query))
    return set(re.findall(r"\bonrecord_[a-z_]+", query)) - labels, labels - {"le"}


def test_the_rule_for_names() -> None:
    assert in_prometheus("onrecord.operation.duration") >= {
        "onrecord_operation_duration_seconds_bucket"
    }
    assert in_prometheus("onrecord.cache.reads") == {"onrecord_cache_reads_total"}
    assert in_prometheus("onrecord.pool.in_use") == {"onrecord_pool_in_use"}
    assert in_prometheus("onrecord.pool.wait_time") == {"onrecord_pool_wait_time_seconds_total"}
    assert in_prometheus("onrecord.io.read") == {"onrecord_io_read_bytes_total"}


def test_the_board_asks_for_what_there_is() -> None:
    asked: set[str] = set()
    for title, query in queries():
        metrics, labels = asked_for(query)
        assert metrics, title
        assert metrics <= NAMES.keys(), title
        asked |= {NAMES[metric] for metric in metrics}
        documented = {name.replace(".", "_") for name in first_cells("Attributes")}
        documented |= {"onrecord_step", "onrecord_cache_result"}
        assert labels <= documented, f"{title}: {labels - documented}"
    assert asked == METRICS.keys(), "and shows all of it"


def test_labels_are_attributes_of_metrics(tmp_path: Path) -> None:
    """The two that no span has stand in the page's words on metrics."""
    page = (ROOT / "docs" / "how-to" / "observe.md").read_text(encoding="utf-8")
    for attribute in ("onrecord.step", "onrecord.cache.result"):
        assert f"`{attribute}`" in page.partition("\n## Metrics\n")[2]


def test_the_board_is_laid_out() -> None:
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    assert (board["uid"], board["title"]) == ("onrecord", "Onrecord")
    every = board["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    for panel in panels():
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
        for _, query in [("", target["expr"]) for target in panel["targets"]]:
            assert query.count("(") == query.count(")")
            assert query.count("{") == query.count("}")


# -- the containers ------------------------------------------------------------------------------


def read(file: str) -> Any:
    return yaml.safe_load((DEPLOY / file).read_text(encoding="utf-8"))


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read("compose.yaml")["services"]
    return found


def test_every_file_can_be_read() -> None:
    for file in DEPLOY.rglob("*.yaml"):
        assert yaml.safe_load(file.read_text(encoding="utf-8")), file
    assert set(services()) == {"app", "postgres", "redis", "collector", "prometheus", "grafana"}


@pytest.mark.parametrize("name", ["app", "postgres", "redis", "collector", "prometheus", "grafana"])
def test_a_service(name: str) -> None:
    service = services()[name]
    if "image" in service:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?", service["image"]), "pinned"
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), "on loopback alone"
    for variable, value in service.get("environment", {}).items():
        assert isinstance(value, str), f"{variable} would be read as {value!r}"
        if "PASSWORD" in variable:
            assert PASSWORD.match(value), "from .env, and refused where it is empty"
        for secret in re.findall(r"://[^:/@]*:([^@]*)@", value):
            assert PASSWORD.match(secret)
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert volume.endswith(":ro")
        else:
            assert source in read("compose.yaml")["volumes"]
    for other in service.get("depends_on", []):
        assert other in services()
        needs = service["depends_on"]
        if isinstance(needs, dict) and needs[other]["condition"] == "service_healthy":
            assert "healthcheck" in services()[other]


def test_the_passwords_are_asked_for() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{([A-Z_]+)", text))
    lines = (DEPLOY / "example.env").read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert given == dict.fromkeys(asked, ""), "none has a value that somebody would keep"
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_one_leads_to_the_next() -> None:
    """App, collector, Prometheus, Grafana: each is sent to, or asked, where it listens."""
    collector = read("collector.yaml")
    listens = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    sends = services()["app"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert sends == f"http://collector:{listens.rpartition(':')[2]}"
    pipelines = collector["service"]["pipelines"]
    for pipeline in pipelines.values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= collector[kind].keys()
    shows = collector["exporters"]["prometheus"]["endpoint"].rpartition(":")[2]
    (job,) = read("prometheus.yaml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"collector:{shows}"]}]
    (source,) = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = read("grafana/provisioning/dashboards/onrecord.yaml")["providers"]
    shown = f"{provider['options']['path']}/onrecord.json"
    assert f"./grafana/onrecord.json:{shown}:ro" in services()["grafana"]["volumes"]


def test_the_image_is_built_from_what_is_there() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    (base,) = [line for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"FROM python:3\.\d+\.\d+-slim-\w+", base)
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for line in [line.split()[1:-1] for line in lines if line.startswith("COPY ")]:
        for source in line:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in kept, f"{source} is not sent to the build"
    (installs,) = [line for line in lines if "pip install" in line]
    extras = set(re.search(r"\.\[([a-z,]+)\]", installs).group(1).split(","))  # type: ignore[union-attr]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extras <= project["optional-dependencies"].keys()
    assert "USER app" in lines, "not as root"
    assert any(line.startswith("CMD") and "fastapi_app:app" in line for line in lines)
