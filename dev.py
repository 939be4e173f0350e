"""Try, test or benchmark the pack on any machine: `python dev.py demo`, `test`, `bench`.

Creates `.venv` next to this file with everything that is needed, and continues inside it.
"""

import argparse
import subprocess
import sys

from devtools.environment import ROOT, EnvironmentSetupError, ensure_environment, is_inside


def main() -> int:
    """Create the environment, then run the command inside it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="run the quick-start workflow in a real ComfyUI")
    test = commands.add_parser("test", help="lint, type check and tests")
    test.add_argument("--quick", action="store_true", help="without ComfyUI and slow tests")
    test.add_argument("--host", metavar="PATH", help="test on this ComfyUI only")
    test.add_argument("pytest_arguments", nargs="*", help="passed to pytest, after --")
    commands.add_parser("bench", help="quick speed and quality benchmarks (minutes)")
    commands.add_parser("locales", help="write locales/en from the nodes' texts")
    arguments = parser.parse_args()

    if sys.version_info < (3, 10):  # noqa: UP036 -- to say so to those who have an older one
        print("Python 3.10 or newer is needed; this is", sys.version.split()[0], file=sys.stderr)
        return 1
    try:
        python = ensure_environment()
    except EnvironmentSetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    if not is_inside():
        return subprocess.call([str(python), __file__, *sys.argv[1:]])

    if arguments.command == "demo":
        from devtools.demo import demo

        return demo()
    if arguments.command == "bench":
        benchmarks = ("benchmarks.speed", "benchmarks.quality")
        commands = [[sys.executable, "-m", name, "--quick"] for name in benchmarks]
        return max([subprocess.call(command, cwd=ROOT) for command in commands])
    if arguments.command == "locales":
        from devtools.locales import write_english

        return write_english()
    from devtools.checks import run_checks

    return run_checks(arguments.pytest_arguments, arguments.host, quick=arguments.quick)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
