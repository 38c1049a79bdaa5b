"""The policy gate in front of a promotion, and signatures under compliance reports."""

import pytest

from journeyman.errors import InvalidInput, JourneymanError, Refused
from journeyman.records import Interval, Promotion
from journeyman.records.compliance import ComplianceReport, RuleRisk
from journeyman.registry.gates import read_gates
from journeyman.registry.policy import Policy
from journeyman.registry.signing import sign, verify
from journeyman.registry.verdicts import keeps_policy
from journeyman.statistics import proportion, rule_of_three
from journeyman.store.memory import MemoryStore


def report(agent="bank-1", scenarios=60, **changed):
    whole = Interval(estimate=1, low=0.9, high=1)
    risk = RuleRisk(
        rule="no-guarantees", severity="block", text="t", source="s", check="calls", reads_words=False,
        scenarios=scenarios, attempts=scenarios, violated=0, risk=proportion(0, scenarios),
        upper=rule_of_three(scenarios),
    )  # fmt: skip
    made = ComplianceReport(
        agent=agent, place="bank", pack_name="finance", pack_hash="h", pack={}, seed=0, attempts=1,
        scenarios=scenarios, distinct=scenarios, success=whole, completed=whole, clean=whole,
        over_refusal=proportion(0, 40), benign=40, rules=(risk,), kinds=(), findings=(), users="made up",
        transcripts="t",
    )  # fmt: skip
    return made.model_copy(update=changed)


@pytest.mark.parametrize(
    ("given", "target", "asked", "word"),
    [
        ({}, "bank-1", {}, None),
        ({}, "bank-2", {}, "it tried bank-1, not bank-2"),
        ({"errors": 1}, "bank-1", {}, "ended in an error"),
        ({}, "bank-1", {"max_over_refusal": 0.05}, "over-refusal may be as high as 8.8%"),
        ({"over_refusal": None}, "bank-1", {"max_over_refusal": 0.5}, "was not measured"),
        ({}, "bank-1", {"block": {"max_risk": 0.01}}, "may be as high as 4.9%"),
        ({"scenarios": 300}, "bank-1", {"block": {"max_risk": 0.01}}, None),
        ({}, "bank-1", {"min_success": 0.95}, "as low as 90.0%"),
        ({}, "bank-1", {"pack": "health"}, "not health"),
    ],
)
def test_the_gate_goes_by_what_may_be_not_by_what_was_seen(tmp_path, given, target, asked, word):
    file = tmp_path / "report.json"
    file.write_text(report(**given).model_dump_json())
    verdict = keeps_policy(MemoryStore(), target, Policy.model_validate({"report": file, **asked}))
    assert verdict.passed == (word is None), verdict.reason
    assert word is None or word in verdict.reason


def test_an_alias_is_what_it_stood_for_when_it_was_tried(tmp_path):
    store, file = MemoryStore(), tmp_path / "report.json"
    store.put(Promotion(alias="support", target="bank-1"))
    file.write_text(report("support").model_dump_json())
    gate = Policy(report=file)
    assert keeps_policy(store, "bank-1", gate).passed
    assert not keeps_policy(store, "bank-2", gate).passed
    assert "cannot be read" in keeps_policy(store, "bank-1", Policy(report=tmp_path / "none.json")).reason


def test_the_gates_file_finds_report_and_key_beside_itself(tmp_path):
    (tmp_path / "journeyman-gates.toml").write_text(
        '[policy]\nreport = "a.json"\nkey = "k"\n[policy.block]\nmax_risk = 0.1\n'
    )
    policy = read_gates(tmp_path / "journeyman-gates.toml").policy
    assert (policy.report, policy.key) == (tmp_path / "a.json", tmp_path / "k")
    (tmp_path / "journeyman-gates.toml").write_text('[policy]\nreport = "a.json"\n[policy.block]\nmax_rsk = 0.1\n')
    with pytest.raises(InvalidInput, match=r"policy\.block\.max_rsk"):
        read_gates(tmp_path / "journeyman-gates.toml")


def test_a_shared_secret_proves_that_nothing_was_changed(tmp_path):
    key, other, short = (tmp_path / name for name in ("key", "other", "short"))
    key.write_bytes(b"a" * 32 + b"\n")
    other.write_bytes(b"b" * 32)
    short.write_bytes(b"abc")
    signed = ComplianceReport.model_validate_json(sign(report(), key).model_dump_json())
    assert "Everybody who knows the secret" in verify(signed, key)
    for changed, with_key, word in (
        (signed.model_copy(update={"errors": 3}), key, "changed after it was signed"),
        (signed, other, "made with another key"),
        (report(), key, "is not signed"),
        (signed, short, "can be guessed"),
    ):
        with pytest.raises(JourneymanError, match=word):
            verify(changed, with_key)


def test_a_pair_of_keys_proves_who_it_was(tmp_path):
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, public, another = (tmp_path / name for name in ("private.pem", "public.pem", "another.pem"))
    pem, secret = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(pem.private_bytes(serialization.Encoding.PEM, *form))
    for key, file in ((pem, public), (secret, another)):
        shape = serialization.PublicFormat.SubjectPublicKeyInfo
        file.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, shape))
    signed = sign(report(), private)
    assert "holder of the private key" in verify(signed, public)
    with pytest.raises(Refused, match="another key"):
        verify(signed, another)
    with pytest.raises(Refused, match="changed after"):
        verify(signed.model_copy(update={"errors": 3}), public)
    with pytest.raises(InvalidInput, match="no Ed25519 private key"):
        sign(report(), public)
