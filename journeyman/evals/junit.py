"""A report as JUnit XML, which CI systems show: a test suite for each model, a test case for each case."""

import re
from xml.etree import ElementTree

from journeyman.evals.pages import percent, provenance
from journeyman.records import CaseResult, EvalReport, ModelReport

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, escaped or not; a model may well write it."""


def to_junit(report: EvalReport) -> str:
    """The report in the form that JUnit made common; a case that ended in an error is an `error`."""
    root = ElementTree.Element("testsuites", name=_clean(report.suite))
    for model in report.models:
        _add_model(root, report, model)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_model(root: ElementTree.Element, report: EvalReport, model: ModelReport) -> None:
    failures = sum(not case.success and case.error is None for case in model.cases)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=_clean(f"{report.suite}: {model.model}"),
        tests=str(len(model.cases)),
        failures=str(failures),
        errors=str(model.errors),
        time=f"{sum(case.latency for case in model.cases):.3f}",
        timestamp=f"{report.at:%Y-%m-%dT%H:%M:%S}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in ({"success": percent(model.success)} | provenance(report)).items():
        ElementTree.SubElement(properties, "property", name=_clean(name), value=_clean(value))
    for case in model.cases:
        _add_case(suite, report, case)


def _add_case(suite: ElementTree.Element, report: EvalReport, case: CaseResult) -> None:
    place = _clean(f"{report.suite}.{case.kind}")
    found = ElementTree.SubElement(
        suite, "testcase", name=_clean(case.scenario_id), classname=place, time=f"{case.latency:.3f}"
    )
    if case.error is not None:
        ElementTree.SubElement(found, "error", message=_clean(case.error))
    elif not case.success:
        ElementTree.SubElement(found, "failure", message=_clean(case.reason))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
