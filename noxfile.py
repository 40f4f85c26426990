"""Every check this project has: `nox` runs them all, `nox -s NAME` one of them."""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "coverage", "properties", "netns", "build", "bench"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
LINT = nox.project.dependency_groups(PYPROJECT, "lint")
TYPES = nox.project.dependency_groups(PYPROJECT, "types")
FUZZ = nox.project.dependency_groups(PYPROJECT, "fuzz")
MUTATION = nox.project.dependency_groups(PYPROJECT, "mutation")
TOGETHER = ("-n", "auto", "--dist", "loadfile")
"""To pytest: a process for each core, and what a file of tests shares stays in one of them."""

# Many tests start a process: each finds what those before it have compiled, and of what is installed only what somebody
# imports is compiled at all. All of it stands in one place, and not beside the sources.
os.environ |= {
    "PIP_NO_COMPILE": "1",
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPYCACHEPREFIX": str(Path(".nox/compiled").resolve()),
}


def _offer_pyenv_interpreters() -> None:
    """Pyenv's python3.x commands answer only for versions that were chosen: choose the newest of each."""
    if shutil.which("pyenv") is None or "PYENV_VERSION" in os.environ:
        return
    installed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True).stdout
    newest = {
        minor: patch
        for minor in PYTHONS
        for patch in re.findall(rf"^{re.escape(minor)}\.\d+$", installed, re.MULTILINE)
    }
    if newest:
        os.environ["PYENV_VERSION"] = ":".join(newest.values())


_offer_pyenv_interpreters()


@nox.session
def lint(session: nox.Session) -> None:
    """Format and lint."""
    session.install(*LINT)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Type-check the package, the tests, the examples and the benchmarks."""
    session.install(*TYPES, ".[test]")
    session.run("mypy")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests, examples and documentation blocks among them, on the installed package.

    The properties run fewer examples on all Pythons but the first: what only another Python breaks, breaks at once.
    """
    session.install(".[test]")
    profile = "quick" if session.python == PYTHONS[0] else "brief"
    session.run("pytest", *TOGETHER, f"--hypothesis-profile={profile}", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Every module of the protocol core: every branch, by its own test file alone."""
    session.install(".[test]")
    directory = Path(session.create_tmp()).resolve()

    def measure(module: Path) -> None:
        env = {"COVERAGE_FILE": str(directory / module.stem)}
        session.run("coverage", "run", "-m", "pytest", "-q", f"tests/proto/test{module.name}", env=env, silent=True)
        session.run("coverage", "report", "--fail-under=100", f"--include=*/proto/{module.name}", env=env, silent=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(measure, sorted(Path("trio_udp/proto").glob("_[a-z]*.py"))))


@nox.session
def properties(session: nox.Session) -> None:
    """The property tests again, with many more examples.

    What has no examples, such as a loop over all there is, would do here what it has done in `tests`: Hypothesis gives
    its mark to those that have.
    """
    session.install(".[test]")
    chosen = ("--hypothesis-profile=deep", "-m", "hypothesis", "tests/properties")
    session.run("pytest", *TOGETHER, *chosen, *session.posargs)


@nox.session
def netns(session: nox.Session) -> None:
    """What takes long and is left out by `tests`: real kernels and other people's programs; skips without root."""
    session.install(".[test]")
    session.run("python", "-m", "pip", "install", "-r", "tests/netns/peers.txt", success_codes=[0, 1])  # may lack some
    session.run("pytest", *TOGETHER, "-m", "long", "tests/netns", "tests/truth", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz every function that first touches bytes from the network; two million inputs or so, in a minute."""
    session.install(*FUZZ, ".[test]")
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def evidence(session: nox.Session) -> None:
    """Compute the large figures, write docs/evidence.json and README's table; half an hour or so, resumable."""
    session.install(*FUZZ, ".[test]")
    session.run("python", "-m", "tests.evidence", *session.posargs)


@nox.session
def mutation(session: nox.Session) -> None:
    """Change the core in every way that is small: the tests have to notice. Takes long; writes docs/mutation.md."""
    session.install(*MUTATION, ".[test]")
    session.run("python", "-m", "tests.mutation", str(Path(session.create_tmp()).resolve() / "copy"), *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel, install it alone into a clean environment, and run README's first command there."""
    session.install("build", "twine")
    dist = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    session.run("twine", "check", "--strict", *map(str, dist.iterdir()))
    clean = Path(session.create_tmp()).resolve() / "clean"
    session.run("python", "-m", "venv", "--clear", str(clean))
    python = str(clean / "bin" / "python")
    session.run(python, "-m", "pip", "install", "--quiet", *map(str, dist.glob("*.whl")), external=True)
    with session.chdir(clean):
        session.run(python, "-m", "trio_udp", "ping", "-c", "3", "-i", "0.2", external=True)
        session.run(str(clean / "bin" / "trio-udp"), "--version", external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Every benchmark once, briefly: it works, and the core takes no more instructions than it did."""
    session.install(".")
    session.install("-r", "benchmarks/peers.txt")
    session.run("python", "benchmarks/run.py", "all", "--smoke", *session.posargs)
