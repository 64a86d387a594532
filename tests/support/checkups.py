"""Checkups with verdicts that a test writes down."""

import json

from evalkit.checkup.checkup import Checkup, Finding
from evalkit.checkup.probes.all_probes import PROBES

CAME = "what came \x1b[31m<b>"


def checkup(base_url="http://127.0.0.1:9/v1", model="m", source="code", **verdicts):
    """A checkup whose probes all conform, but for those named."""
    assert verdicts.keys() <= {probe.name for probe in PROBES}
    findings = [
        Finding(probe.name, probe.subject, probe.asks, probe.why, verdicts.get(probe.name, "conforms"), CAME)
        for probe in PROBES
    ]
    return Checkup(base_url, model, "2026-12-01T10:00:00+00:00", 20.0, 54, tuple(findings), {}, 7_000, source)


def written(path, found):
    """The file that ``evalkit check -o`` writes."""
    path.write_text(json.dumps(found.to_json()), encoding="utf-8")
    return path
