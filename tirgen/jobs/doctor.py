"""Checks everything that a generation needs, by using it, and says how to fix what fails."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import duckdb

from storage.datasets import Store
from storage.errors import ObjectStoreError
from storage.places import mirror_of
from storage.records import SCHEMA_VERSION, Outcome
from tirgen.embedded.models import is_pocket_engine, tokenizer_source
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.errors import EngineError
from tirgen.engine.protocol import Message, Prompt, Sampling
from tirgen.jobs.engines import open_engine, open_engines
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.sandbox.contract import Limits, Sandbox, SandboxUnavailable
from tirgen.sandbox.libraries import LIBRARIES, install_command, missing_libraries
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.modes import Layer
from tirgen.sandbox.open import open_sandbox
from tirgen.sandbox.program_settings import SandboxSettings
from tirgen.tir.prompt_check import CheckLevel
from tirgen.tir.prompts import POCKET
from tirgen.verification import Verifier

GIB = 1 << 30
DISK_LOW = 2 * GIB


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    level: CheckLevel
    found: str
    fix: str = ""
    """What to do about it; empty if nothing."""
    seconds: float = 0.0


async def examine(config: GenerateConfig, store: Store) -> list[Finding]:
    """All findings, in the order in which to fix them."""
    checks: list[Callable[[], Awaitable[list[Finding]]]] = [
        _python,
        lambda: _store(store),
        _sql,
        lambda: _engines(config),
        lambda: sandbox_findings(config.sandbox),
        _verifier,
        _extras,
    ]
    findings: list[Finding] = []
    for check in checks:
        started = time.monotonic()
        found = await check()
        seconds = (time.monotonic() - started) / len(found)
        findings += [Finding(f.check, f.level, f.found, f.fix, seconds) for f in found]
    return findings


async def _python() -> list[Finding]:
    cores = os.cpu_count() or 1
    return [Finding("python", CheckLevel.OK, f"{sys.version.split()[0]}, {cores} cores")]


async def _store(store: Store) -> list[Finding]:
    folder = store.root
    if mirror_of(folder):
        try:
            names = store.names()
        except ObjectStoreError as error:
            return [Finding("store", CheckLevel.FAIL, error.message, error.hint)]
        found = f"{store} answers, {len(names)} datasets, schema {SCHEMA_VERSION}"
        return [Finding("store", CheckLevel.OK, found)]
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(parent).free
    try:
        with tempfile.TemporaryFile(dir=parent) as file:
            file.write(b"x")
    except OSError as error:
        fix = "name a writable folder with --store or TIRGEN_STORE"
        return [Finding("store", CheckLevel.FAIL, f"{parent}: {error.strerror}", fix)]
    found = f"{folder} writable, {free / GIB:.1f} GiB free, schema {SCHEMA_VERSION}"
    if free < DISK_LOW:
        return [Finding("store", CheckLevel.WARN, found, f"free disk space below {parent}")]
    return [Finding("store", CheckLevel.OK, found)]


async def _sql() -> list[Finding]:
    answer = duckdb.connect().execute("select 6 * 7").fetchone()
    level = CheckLevel.OK if answer == (42,) else CheckLevel.FAIL
    return [Finding("sql", level, f"DuckDB {duckdb.__version__}")]


async def _engines(config: GenerateConfig) -> list[Finding]:
    """Asks each role with the sampling of the run, to find refused fields."""
    findings = []
    samplings = {"actor": config.actor_sampling, "critic": config.critic_sampling}
    try:
        async with open_engines(config.actor, config.critic) as engines:
            for (role, settings), engine in zip(samplings.items(), engines, strict=True):
                messages = (Message("user", "1 + 1 ="),)
                ids = engine.renderer.prompt_ids(messages) if engine.renderer else ()
                prompt = Prompt(messages=messages, token_ids=ids)
                sampling = Sampling(max_tokens=16, seed=0, **settings.model_dump())
                done = await engine.complete(prompt, sampling)
                exact = "exact token ids" if done.token_ids else "text only, no token ids"
                found = f"{engine.model} on {engine.server}: {exact}"
                findings.append(Finding(f"engine ({role})", CheckLevel.OK, found))
                findings.append(_tokenizer(role, getattr(config, role)))
    except EngineError as error:
        fix = "do what the message says; without a server of your own: --actor embedded"
        findings.append(Finding("engine", CheckLevel.FAIL, str(error), fix))
    for role in samplings:
        findings += await _replicas(role, getattr(config, role))
    return [*findings, _prompts(config)]


async def _replicas(role: str, config: EngineConfig) -> list[Finding]:
    """Each replica by itself: a run starts without those that do not answer."""
    if config.servers == 1:
        return []
    return list(await asyncio.gather(*(_replica(role, config, url) for url in config.base_urls)))


async def _replica(role: str, config: EngineConfig, base_url: str) -> Finding:
    check = f"replica ({role})"
    try:
        async with open_engine(config.model_copy(update={"base_urls": (base_url,)})) as engine:
            return Finding(check, CheckLevel.OK, f"{base_url}: {engine.server}")
    except EngineError as error:
        fix = f"start it, or leave it out of {role}.base_urls"
        return Finding(check, CheckLevel.FAIL, str(error), fix)


def _tokenizer(role: str, engine: EngineConfig) -> Finding:
    source = tokenizer_source(engine) or "the endpoint's own"
    whose = " (the pocket's)" if is_pocket_engine(engine) else ""
    return Finding(f"tokenizer ({role})", CheckLevel.OK, f"{source}{whose}")


def _prompts(config: GenerateConfig) -> Finding:
    """Prompts for another model are the usual reason why no trajectory is kept."""
    name = config.prompt_set.name
    if (name == POCKET.name) == is_pocket_engine(config.actor):
        return Finding("prompts", CheckLevel.OK, f"the set {name!r}")
    found = f"the set {name!r} was not made for the actor"
    return Finding("prompts", CheckLevel.WARN, found, "leave the setting prompts out")


async def sandbox_findings(settings: SandboxSettings) -> list[Finding]:
    """Whether programs run here, what protects against them, and what they can import."""
    try:
        async with open_sandbox(**settings.place()) as sandbox:
            proofs = await asyncio.gather(
                _proof(sandbox, "runs a program", "print(6 * 7)", Outcome.OK),
                _proof(sandbox, "stops an endless loop", "while True: pass", Outcome.TIMEOUT),
                _proof(
                    sandbox,
                    "refuses the network",
                    "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
                    Outcome.ERROR,
                ),
                _proof(sandbox, "bounds memory", "x = bytearray(1 << 34)", None),
            )
            mode = Finding("sandbox", CheckLevel.OK, sandbox.mode)
            libraries = await _libraries(sandbox, settings)
            layers = sandbox.layers if isinstance(sandbox, LocalSandbox) else []
            return [mode, *proofs, libraries, *map(_layer, layers)]
    except SandboxUnavailable as error:
        return [Finding("sandbox", CheckLevel.FAIL, str(error), "see docs/sandbox.md")]


async def _libraries(sandbox: Sandbox, settings: SandboxSettings) -> Finding:
    """The libraries that programs find; a missing one makes a correct program fail."""
    name = "sandbox libraries"
    missing = await missing_libraries(sandbox)
    if missing is None:
        return Finding(name, CheckLevel.FAIL, "no program could run", "docs/sandbox.md")
    found = ", ".join(library for library in LIBRARIES if library not in missing) or "none"
    if not missing:
        return Finding(name, CheckLevel.OK, found)
    fix = install_command(missing, settings.python)
    if settings.services:
        fix = f"on the machines of the services: {fix}"
    elif settings.python is None:
        fix += ", or name an environment that has them in sandbox.python"
    return Finding(name, CheckLevel.WARN, f"{found}; missing: {', '.join(missing)}", fix)


def _layer(layer: Layer) -> Finding:
    level = CheckLevel.OK if layer.active else CheckLevel.WARN
    fix = "" if layer.active else "docs/sandbox.md says which machines have it"
    return Finding(f"sandbox layer: {layer.name}", level, layer.meaning, fix)


async def _proof(sandbox: Sandbox, what: str, code: str, expected: Outcome | None) -> Finding:
    limits = Limits(cpu_seconds=0.5, wall_seconds=2, memory_mb=256)
    execution = await sandbox.run(code, limits)
    held = (
        execution.outcome is expected
        if expected
        else execution.outcome in (Outcome.OOM, Outcome.ERROR)
    )
    level = CheckLevel.OK if held else CheckLevel.FAIL
    return Finding(f"sandbox {what}", level, execution.outcome, "" if held else "docs/sandbox.md")


async def _verifier() -> list[Finding]:
    async with Verifier() as verifier:
        right = await verifier.verify("\\frac{1}{2}", "So \\boxed{0.5}.")
        wrong = await verifier.verify("\\frac{1}{2}", "So \\boxed{0.6}.")
    if right.correct and not wrong.correct:
        return [Finding("verifier", CheckLevel.OK, "tells 1/2 from 0.6")]
    return [Finding("verifier", CheckLevel.FAIL, right.reason, "reinstall: make clean setup")]


async def _extras() -> list[Finding]:
    if importlib.util.find_spec("torch"):
        return [Finding("training", CheckLevel.OK, "torch is installed")]
    found = "torch is not installed: enough to generate, not to train"
    fix = "pip install torch==2.13.0 && pip install 'tirgen[train]'"
    return [Finding("training", CheckLevel.WARN, found, fix)]
