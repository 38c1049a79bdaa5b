"""`journeyman comply`: does an agent keep a policy, before it answers anybody?"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from journeyman.cli.eval import ApiKey, BaseUrl, Concurrency, MaxTokens, open_engine, print_page, show_progress
from journeyman.config import Settings
from journeyman.datasets.formats import export_rows
from journeyman.engines.engine import Engine
from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.suites import SUITES, load_attribute
from journeyman.errors import InvalidInput, NotFound, Refused
from journeyman.evals.compliance_page import save_compliance
from journeyman.evals.compliance_report import compliance_to_markdown
from journeyman.records import Sampling, Scenario
from journeyman.records.compliance import CheckerAccuracy, ComplianceReport, Finding, ProbeKind
from journeyman.registry.gates import FILE, find_gates, read_gates
from journeyman.registry.policy import LastRelease, Policy, faults_of, read_compliance, told, transcripts_match
from journeyman.registry.regression import since
from journeyman.registry.signing import sign, verify
from journeyman.rewards.asking import Asker
from journeyman.rewards.judge import Judge
from journeyman.worlds.compliance.adversary import KIND, Adversary, ModelAdversary, TemplateAdversary, make_attacks
from journeyman.worlds.compliance.checkers import OF_THE_PACK, Labelled, examples_of, measure_checkers, read_labelled
from journeyman.worlds.compliance.judged import judge_attempts
from journeyman.worlds.compliance.pack import Pack, read_pack
from journeyman.worlds.compliance.rows import rows_of
from journeyman.worlds.compliance.scenes import Place, PlainPlace, make_scenes
from journeyman.worlds.compliance.scoring import make_report, read_transcripts, transcript_lines
from journeyman.worlds.compliance.trying import Agent, Tried, by_key, replay_live, replay_recorded, try_scenes

PLACES = {"bank": "journeyman.demos.bank.desk:BankDesk"}
"""Where the places lie that have a name."""

app = typer.Typer(no_args_is_help=True, help="Try an agent on a policy before it answers anybody.")

Report = Annotated[Path, typer.Argument(help="A report's JSON file; its transcripts lie beside it.")]
Where = Annotated[str, typer.Option("--place", help="bank, or module:attribute of a place or a suite of your own.")]
Model = Annotated[str | None, typer.Option(help="The name that is asked for: a model, or your agent behind a URL.")]
Player = Annotated[str | None, typer.Option(help="module:attribute of a script that plays, in place of --model.")]
Gates = Annotated[Path | None, typer.Option(help=f"The file of the gates; {FILE} of this repository if absent.")]
Labels = Annotated[Path | None, typer.Option(help="Labelled examples as JSON lines; the pack's own if absent.")]
Planner = Annotated[str | None, typer.Option("--adversary", help="Who plans from the rules: templates, or a model.")]
Judges = Annotated[str | None, typer.Option(help="Models that judge rules, joined by commas; most of them decide.")]


@app.callback()
def _comply() -> None:
    """Try an agent on a policy before it answers anybody."""


@app.command("run")
def run_command(
    pack: Annotated[str, typer.Option(help="The policy: finance, or a .yaml or .json file.")] = "finance",
    place: Where = "bank",
    model: Model = None,
    player: Player = None,
    attempts: Annotated[int, typer.Option(min=1, help="Attempts at each scenario.")] = 1,
    scale: Annotated[int, typer.Option(min=1, help="So many times the scenarios that the pack asks for.")] = 1,
    rules: Annotated[str | None, typer.Option(help="Only scenarios of these rules, joined by commas.")] = None,
    kinds: Annotated[str | None, typer.Option(help=f"Only {', '.join(get_args(ProbeKind))}.")] = None,
    adversary: Planner = None,
    judges: Judges = None,
    labelled: Labels = None,
    key: Annotated[Path | None, typer.Option(help="Sign the report with this key's file.")] = None,
    gates: Gates = None,
    seed: Annotated[int, typer.Option(help="Which scenarios, and how each attempt is sampled.")] = 0,
    concurrency: Concurrency = 8,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    max_tokens: MaxTokens = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; `compliance` in the home folder.")] = None,
) -> None:
    """Try an agent on the scenarios of a policy: a report, and exit code 3 where a gate stops it."""
    settings, where = Settings(), find_place(place)
    policy = read_pack(pack, where.tools)
    gate, _ = find_policy(gates, needed=gates is not None)
    chosen = [_kind(name) for name in _names(kinds)]
    scenes, left = _plain_scenes(policy, where, seed, scale, _names(rules), chosen, adversary)
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)

    async def measure() -> tuple[ComplianceReport, list[Tried]]:
        async with AsyncExitStack() as stack:
            agent = await find_agent(stack, settings, model, player, base_url, api_key, sampling)
            asked = [Judge(await _engine(stack, settings, base_url, api_key), name) for name in _names(judges)]
            if adversary is not None:
                plans = await _adversary(stack, settings, adversary, base_url, api_key)
                more, without = await make_attacks(policy, where, plans, seed, scale=scale, rules=_names(rules))
                scenes.extend(more)
                left.update(without)
            checkers = await measure_checkers(policy, *_examples(policy, labelled), asked)
            with show_progress([agent.model]) as show:
                done = iter(range(1, 1 + attempts * len(scenes)))
                tried = await try_scenes(
                    agent, where, scenes, attempts=attempts, seed=seed, concurrency=concurrency,
                    on_done=lambda: show(agent.model, next(done), attempts * len(scenes)),
                )  # fmt: skip
            judged = await judge_attempts(policy, tried, asked)
            uses = [judge.use() for judge in asked]
            report = make_report(
                policy, where, agent, judged, seed=seed, judges=uses, checkers=checkers, adversary=adversary or ""
            )
            return report, tried

    report, tried = asyncio.run(measure())
    report = report if key is None else sign(report, key)
    faults = None if gate is None else faults_of(report, gate)
    _save(report, tried, left, faults, out or settings.home / "compliance")
    _stop(report, faults)


@app.command("gate")
def gate_command(
    report: Report,
    gates: Gates = None,
    last: Annotated[
        Path | None,
        typer.Option("--last-release", help="The report on what answers today."),
    ] = None,
) -> None:
    """Hold a report against the [policy] table of a gates' file, and against the last release's; exit code 3 where it
    does not keep within it, or is significantly worse."""
    gate, file = find_policy(gates, needed=True)
    assert gate is not None
    if last is not None:
        bounds = (
            gate.last_release.model_copy(update={"report": last}) if gate.last_release else LastRelease(report=last)
        )
        gate = gate.model_copy(update={"last_release": bounds})
    found = read_compliance(report)
    _stop(found, faults_of(found, gate))
    typer.echo(f"passed: {told(found)}. Gates: {file}")
    if gate.last_release is not None:
        for change in since(found, read_compliance(gate.last_release.report)).changes:
            typer.echo(f"Against the last release: {change}")


@app.command("check")
def check_command(
    pack: Annotated[str, typer.Argument(help="A policy: finance, or a .yaml or .json file.")],
    labelled: Labels = None,
    judges: Judges = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Read a policy, and measure its checks on examples whose verdict is known."""
    settings, policy = Settings(), read_pack(pack)

    async def measure() -> None:
        async with AsyncExitStack() as stack:
            asked = [Judge(await _engine(stack, settings, base_url, api_key), name) for name in _names(judges)]
            found = await measure_checkers(policy, *_examples(policy, labelled), asked)
        measured = {each.rule: each for each in found}
        typer.echo(f"{policy.name}, hash {policy.hash}, {len(policy.rules)} rules")
        for rule in policy.rules:
            each = measured.get(rule.id)
            said = "no examples" if each is None else (
                f"catches {each.caught} of {each.violating}, {each.alarms} false alarms on {each.clean}"
                f"{_shown_f1(each)}"
            )  # fmt: skip
            typer.echo(f"  {rule.id} ({rule.severity}, {rule.check.kind}): {said}")

    asyncio.run(measure())


@app.command("replay")
def replay_command(
    report: Report,
    finding: Annotated[str, typer.Argument(help="Which violation, such as F1.")],
    place: Where = "bank",
    model: Model = None,
    player: Player = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Play the attempt of a violation again and compare it to the letter: its recorded replies, or the agent itself."""
    settings, where, found = Settings(), find_place(place), read_compliance(report)
    chosen = _finding(found, finding)
    tried = by_key(_transcripts(report, found))[chosen.scenario_id, chosen.attempt]

    async def play() -> str | None:
        async with AsyncExitStack() as stack:
            if model is None and player is None:
                again = await replay_recorded(tried, where)
            else:
                agent = await find_agent(stack, settings, model, player, base_url, api_key, found.sampling)
                again = await replay_live(tried, where, agent)
            if again.difference is not None:
                return again.difference
            judged = (await judge_attempts(Pack.model_validate(found.pack), [again.tried]))[0]
            if chosen.rule in judged.unjudged:
                return None
            quotes = [breach.quote for breach in judged.breaches[chosen.rule]]
            return None if chosen.quote in quotes else f"the rule {chosen.rule} is not violated any more"

    difference = asyncio.run(play())
    if difference is not None:
        raise Refused(f"{finding} does not replay: {difference}")
    typer.echo(f"{finding} replays exactly: {chosen.rule} in {chosen.scenario_id}, attempt {chosen.attempt}, seed "
               f"{chosen.seed}: {chosen.quote or chosen.reason}")  # fmt: skip


@app.command("sign")
def sign_command(report: Report, key: Annotated[Path, typer.Option(help="The key's file.")]) -> None:
    """Sign a report: with an Ed25519 private key in PEM, else with a shared secret (HMAC)."""
    signed = sign(read_compliance(report), key)
    report.write_text(signed.model_dump_json(indent=2) + "\n", encoding="utf-8")
    typer.echo(verify(signed, key))


@app.command("verify")
def verify_command(
    report: Report, key: Annotated[Path, typer.Option(help="The public key, or the shared secret.")]
) -> None:
    """Check a report's signature, and that its transcripts are those that it was made from."""
    found = read_compliance(report)
    said = verify(found, key)
    _transcripts(report, found)
    typer.echo(f"{said}. Its transcripts are the signed ones")


@app.command("rows")
def rows_command(
    reports: Annotated[list[Path], typer.Argument(help="Reports of the same policy, place and seed.")],
    out: Annotated[Path, typer.Option(help="Folder for sft.jsonl and preferences.jsonl.")],
) -> None:
    """Make training rows of what was tried: clean successes, and pairs of a clean and a violating attempt."""
    runs = [(found, _transcripts(file, found)) for file in reports for found in [read_compliance(file)]]
    wins, pairs = rows_of(runs)
    for rows, name in ((wins, "sft.jsonl"), (pairs, "preferences.jsonl")):
        if rows:
            export_rows(rows, out / name)
    typer.echo(f"{len(wins)} rows for SFT and {len(pairs)} pairs in {out}")


def find_place(name: str) -> Place:
    """A place by its name; a suite becomes one of which nothing more is known."""
    address = PLACES.get(name) or SUITES.get(name) or name
    if ":" not in address:
        raise NotFound("place", name, [*PLACES, *SUITES], "A place of your own is written module:attribute")
    found = load_attribute(address, "place", name, own=address == name)
    if all(hasattr(found, member) for member in ("name", "suite", "tools", "users", "scenarios", "facts")):
        return cast(Place, found)
    if all(hasattr(found, member) for member in ("name", "scenarios", "environment")):
        return PlainPlace(found)
    raise InvalidInput(f"{name} is neither a place nor a suite; docs/guides/compliance.md says what one has")


async def find_agent(
    stack: AsyncExitStack,
    settings: Settings,
    model: str | None,
    player: str | None,
    base_url: str | None,
    api_key: str | None,
    sampling: Sampling,
) -> Agent:
    """Who is tried: a name behind a URL, or a script."""
    if (model is None) == (player is None):
        raise InvalidInput("say who is tried: either --model, or --player with a script of your own")
    if player is not None:
        script = load_attribute(player, "player", player)
        return Agent(ScriptedEngine(script), player.rpartition(":")[2], sampling)
    assert model is not None
    return Agent(await _engine(stack, settings, base_url, api_key), model, sampling)


def find_policy(gates: Path | None, *, needed: bool) -> tuple[Policy | None, Path | None]:
    """The [policy] table of the gates' file, and the file; InvalidInput where one is needed and there is none."""
    file = gates or find_gates(Path.cwd())
    found = None if file is None else read_gates(file).policy
    if found is None and needed:
        raise InvalidInput(f"{file or FILE} has no [policy] table; docs/guides/compliance.md says what it may hold")
    return found, file


def _examples(pack: Pack, labelled: Path | None) -> tuple[list[Labelled], str]:
    """What the checks are measured on, and who labelled it."""
    return (examples_of(pack), OF_THE_PACK) if labelled is None else (read_labelled(labelled, pack), str(labelled))


def _save(
    report: ComplianceReport, tried: list[Tried], left: Mapping[str, str], faults: list[str] | None, folder: Path
) -> None:
    conversations = {key: each.trajectory.messages for key, each in by_key(tried).items()}
    data = save_compliance(report, folder, conversations, transcript_lines(tried).decode(), faults)
    print_page(compliance_to_markdown(report, faults))
    for name, why in left.items():
        typer.echo(f"Not tried: {name}: {why}", err=True)
    typer.echo(f"The report is in {data}, with .md, .html and .transcripts.jsonl beside it")


def _plain_scenes(
    pack: Pack,
    place: Place,
    seed: int,
    scale: int,
    rules: Sequence[str],
    kinds: Sequence[ProbeKind],
    adversary: str | None,
) -> tuple[list[Scenario], dict[str, str]]:
    """Those that the pack writes down itself; an adversary's come later, when its model can be asked."""
    if KIND in kinds and adversary is None:
        raise InvalidInput(f"scenes of the kind {KIND} are planned by an adversary: --adversary templates, or a model")
    if adversary is not None and kinds and KIND not in kinds:
        raise InvalidInput(f"--adversary plans scenes of the kind {KIND}, and --kinds leaves them out; nothing was run")
    if list(kinds) == [KIND]:
        return [], {}
    return make_scenes(pack, place, seed, scale=scale, rules=rules, kinds=kinds)


async def _adversary(
    stack: AsyncExitStack, settings: Settings, name: str, base_url: str | None, api_key: str | None
) -> Adversary:
    if name == TemplateAdversary.name:
        return TemplateAdversary()
    return ModelAdversary(Asker(await _engine(stack, settings, base_url, api_key), name))


async def _engine(stack: AsyncExitStack, settings: Settings, base_url: str | None, api_key: str | None) -> Engine:
    return await stack.enter_async_context(open_engine(settings, base_url, api_key))


def _shown_f1(found: CheckerAccuracy) -> str:
    if found.f1 is None:
        return ""
    marked = f", {found.elsewhere} quotations of other words than the {found.spans} marked" if found.spans else ""
    return f"{marked}, F1 {found.f1.estimate:.2f} ({found.f1.low:.2f} to {found.f1.high:.2f})"


def _stop(report: ComplianceReport, faults: list[str] | None) -> None:
    if faults:
        raise Refused(f"the policy gate is closed: {told(report)}; {'; '.join(faults)}")


def _finding(report: ComplianceReport, id: str) -> Finding:
    found: Mapping[str, Finding] = {each.id: each for each in report.findings}
    if id not in found:
        raise NotFound("violation", id, found)
    return found[id]


def _transcripts(file: Path, report: ComplianceReport) -> list[Tried]:
    path = file.with_name(f"{file.name.removesuffix('.json')}.transcripts.jsonl")
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise InvalidInput(f"the transcripts {path} cannot be read ({problem.strerror})") from problem
    if not transcripts_match(report, content):
        raise Refused(f"{path} is not what the report {report.id} was made from: its SHA-256 is another one")
    return read_transcripts(content)


def _names(joined: str | None) -> list[str]:
    return [name.strip() for name in (joined or "").split(",") if name.strip()]


def _kind(name: str) -> ProbeKind:
    if name not in get_args(ProbeKind):
        raise InvalidInput(f"no kind {name!r}; there is: {', '.join(get_args(ProbeKind))}")
    return cast(ProbeKind, name)
