from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.records import Outcome
from tests.sandbox.conftest import Run


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """A file that every user of this machine may read: only the sandbox prevents it."""
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(0o755)
    path = tmp_path / "secret"
    path.write_text("hunter2")
    path.chmod(0o666)
    yield path
    assert path.read_text() == "hunter2"
    assert path.stat().st_mode & 0o777 == 0o666


def test_the_environment_is_empty(run: Run) -> None:
    execution = run("import os; print(dict(os.environ), os.environb, os.getenv('PATH'))")
    assert execution.stdout == "{} environ({}) None\n"


def test_no_environment_of_any_process_is_readable(holds: Callable[..., None]) -> None:
    holds(
        "for pid in ('self', 1, os.getpid(), os.getppid()):\n"
        "    for name in ('environ', 'cmdline', 'maps', 'mem', 'fd', 'cwd/x', 'root/etc/passwd'):\n"
        "        forbidden(name, open, f'/proc/{pid}/{name}')\n"
        "forbidden('processes', os.listdir, '/proc')"
    )


def test_no_secret_of_the_supervisor_is_in_memory(run: Run) -> None:
    """The canary is in the environment of the process that started the zygote."""
    execution = run(
        "import gc\n"
        "word = 'can' + 'ary-'\n"
        "dicts = [o for o in gc.get_objects() if isinstance(o, dict) and o is not globals()]\n"
        "values = [v for o in dicts for v in list(o.values()) if isinstance(v, str)]\n"
        "found = [v for v in values if v.startswith(word)]\n"
        "print(found)"
    )
    assert execution.stdout == "[]\n"


def test_no_file_of_the_host_can_be_read(holds: Callable[..., None], secret: Path) -> None:
    holds(
        "for path in (secret, '/etc/passwd', '/etc/hostname', '/etc/shadow', '/root/.bashrc',\n"
        "             '/sys/kernel/notes', '/dev/mem', '/dev/kmsg', '/dev/shm'):\n"
        "    forbidden(path, os.open, path, os.O_RDONLY)\n"
        "for path in ('/', '/home', '/root', '/etc', '/tmp', '/work', os.path.dirname(secret)):\n"
        "    forbidden(path, os.listdir, path)",
        secret=str(secret),
    )


def test_no_file_of_the_host_can_be_changed(holds: Callable[..., None], secret: Path) -> None:
    holds(
        "for path in (secret, os.__file__, '/dev/null/x'):\n"
        "    forbidden('append', open, path, 'a')\n"
        "    forbidden('truncate', os.truncate, path, 0)\n"
        "    forbidden('mode', os.chmod, path, 0)\n"
        "    forbidden('owner', os.chown, path, 1, 1)\n"
        "    forbidden('times', os.utime, path, (0, 0))\n"
        "    forbidden('remove', os.remove, path)\n"
        "    forbidden('rename', os.rename, path, path + '.moved')\n"
        "    forbidden('attribute', os.setxattr, path, 'user.x', b'1')",
        secret=str(secret),
    )


def test_no_link_leads_out(holds: Callable[..., None], secret: Path) -> None:
    holds(
        "def symbolic():\n"
        "    os.symlink(secret, 'link')\n"
        "    return open('link').read()\n"
        "def hard():\n"
        "    os.link(secret, 'hard')\n"
        "def upwards():\n"
        "    return open('../' * 20 + secret).read()\n"
        "def descriptor():\n"
        "    return os.open('etc', os.O_RDONLY, dir_fd=os.open('/', os.O_PATH))\n"
        "def root():\n"
        "    return open('/proc/self/root' + secret).read()\n"
        "for name in (symbolic, hard, upwards, descriptor, root): forbidden(name, name)",
        secret=str(secret),
    )


def test_libraries_read_no_files_either(holds: Callable[..., None], secret: Path) -> None:
    holds(
        "import numpy, linecache, sympy\n"
        "forbidden('fromfile', numpy.fromfile, secret)\n"
        "forbidden('memmap', numpy.memmap, secret)\n"
        "if linecache.getline(secret, 1): print('breach')\n"
        "forbidden('sympify', sympy.sympify, f'open({secret!r}).read()')\n"
        "forbidden('shell', sympy.sympify, \"__import__('os').popen('id').read()\")",
        secret=str(secret),
    )


def test_no_descriptor_is_inherited(holds: Callable[..., None]) -> None:
    holds(
        "for fd in range(3, 4096):\n"
        "    forbidden(f'descriptor {fd}', os.fstat, fd)\n"
        "if os.read(0, 1): print('breach')"
    )


def test_the_code_of_earlier_snippets_is_not_in_memory(run: Run) -> None:
    """Code passes the zygote as a descriptor, so no fork inherits it from an earlier snippet."""
    marker = os.urandom(8).hex()
    run(f"marked = '{marker}'")
    execution = run(
        "import gc\n"
        "found = [o for o in gc.get_objects() if isinstance(o, dict) and 'mar' + 'ked' in o]\n"
        "print(found)"
    )
    assert execution.stdout == "[]\n"


def test_what_a_snippet_changes_ends_with_it(run: Run) -> None:
    run(
        "import builtins, math, sympy, sys, os\n"
        "builtins.print = None; math.pi = 3; sympy.solve = None; sys.path.clear()\n"
        "sys.modules.clear(); builtins.leak = 1"
    )
    execution = run(
        "import math, sympy, builtins\n"
        "print(math.pi > 3, sympy.solve(sympy.Symbol('x') - 1), hasattr(builtins, 'leak'))"
    )
    assert (execution.outcome, execution.stdout) == (Outcome.OK, "True [1] False\n")


def test_variables_do_not_survive(run: Run) -> None:
    run("value = 1")
    assert "NameError" in run("print(value)").stderr


def test_the_sandbox_is_not_importable(holds: Callable[..., None]) -> None:
    holds("forbidden('tirgen', lambda: [m for m in sys.modules if 'tirgen' in m] or open(''))")


def test_scratch_ends_with_the_snippet(run: Run) -> None:
    written = run("open('kept', 'w').write('x'); print(1)")
    assert written.outcome is Outcome.OK
    assert run("import os; print(os.path.exists('kept'))").stdout == "False\n"


def test_scratch_has_a_quota(run: Run, is_bare: bool) -> None:
    if is_bare:
        pytest.skip("the scratch of bare is watched: see below")
    execution = run(
        "import os\n"
        "written = 0\n"
        "try:\n"
        "    for n in range(100):\n"
        "        with open(f'f{n}', 'wb') as f: written += f.write(bytes(10 << 20))\n"
        "except OSError: pass\n"
        "print(written >> 20)"
    )
    assert int(execution.stdout) <= 16


def test_no_single_file_grows_without_end(holds: Callable[..., None]) -> None:
    holds(
        "def grow():\n"
        "    with open('big', 'wb') as f:\n"
        "        for _ in range(1 << 10): f.write(bytes(1 << 20))\n"
        "forbidden('file', grow)"
    )


ENDLESS = {
    "files": "open(f'f{n}', 'wb').write(bytes(1 << 20))",
    "files without a byte": "open(f'f{n}', 'wb').close()",
    "one file over and over": "open('f', 'wb').write(bytes(1 << 20))",
    "files without a name": "f = open('f', 'wb'); os.remove('f'); kept.append(f)\n"
    "    f.write(bytes(1 << 20)); n % 40 or kept.clear()",
    "mappings without a name": "f = open('f', 'w+b'); os.remove('f'); f.truncate(1 << 20)\n"
    "    m = mmap.mmap(f.fileno(), 0); m[:] = bytes(1 << 20); f.close(); kept.append(m)\n"
    "    n % 40 or kept.clear()",
    "directories without end": "os.mkdir('d'); os.chdir('d')",
    "links": "os.symlink('/', f'l{n}')",
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_watched_scratch_is_no_way_to_fill_the_disk(run: Run, is_bare: bool, what: Any) -> None:
    if not is_bare:
        pytest.skip("the scratch is a file system of its own, with a size")
    execution = run(
        "import itertools, mmap, os\nkept = []\nprint(os.getcwd(), flush=True)\n"
        f"for n in itertools.count():\n    {ENDLESS[what]}\n",
        cpu_seconds=20,
        wall_seconds=20,
    )
    assert execution.outcome is Outcome.ERROR
    assert "into files" in execution.stderr, execution.stderr
    assert "tirgen-scratch-" in execution.stdout
    assert not Path(execution.stdout.splitlines()[0]).exists()


def test_another_snippets_scratch_is_out_of_reach(
    holds: Callable[..., None], is_bare: bool
) -> None:
    if not is_bare:
        pytest.skip("no other is mounted where a snippet is")
    holds(
        "above = os.path.dirname(os.getcwd())\n"
        "forbidden('list', os.listdir, above)\n"
        "forbidden('new', os.mkdir, above + '/x')\n"
        "forbidden('move', os.rename, os.getcwd(), above + '/y')\n"
        "forbidden('remove', os.rmdir, os.getcwd())\n"
        "os.symlink('/etc/passwd', 'link')\n"
        "forbidden('link', open, 'link')\n"
        "forbidden('unnamed', os.open, '/tmp', os.O_TMPFILE | os.O_RDWR)"
    )


def test_no_number_of_files_fills_the_scratch_table(
    holds: Callable[..., None], is_bare: bool
) -> None:
    if is_bare:
        pytest.skip("the scratch of bare is watched: see above")
    holds("def many():\n for n in range(600): open(f'f{n}', 'w').close()\nforbidden('files', many)")


def test_descriptors_run_out_for_the_snippet_alone(run: Run) -> None:
    execution = run("import os\nwhile True: os.open('/dev/null', os.O_RDONLY)")
    assert "Too many open files" in execution.stderr
    assert run("print(1)").outcome is Outcome.OK


def test_host_name_is_hidden(run: Run, is_bare: bool) -> None:
    if is_bare:
        pytest.skip("bare has no uts namespace: uname shows the host's name")
    assert socket.gethostname() not in run("import os; print(os.uname())").stdout


def test_host_paths_are_invisible(run: Run, is_bare: bool, secret: Path) -> None:
    if is_bare:
        pytest.skip("bare has no mount namespace: stat shows that a path exists")
    execution = run(f"import os; print(os.path.exists({str(secret)!r}), os.path.exists('/etc'))")
    assert execution.stdout.split()[0] == "False"
