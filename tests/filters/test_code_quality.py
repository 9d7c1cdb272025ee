from __future__ import annotations

import pytest

from tirgen.filters.code_quality import code_lines, is_substantial, trivial_reason

LOOP = "for n in range(3):\n    print(n)"
PRINT = "print(2 + 2)"


@pytest.mark.parametrize(
    "code",
    [
        "import math\nprint(math.gcd(12, 18))",
        "import numpy as np\nprint(np.linalg.det([[1, 2], [3, 4]]))",
        "from sympy import symbols, solve\nx = symbols('x')\nprint(solve(x - 1))",
        "from fractions import Fraction as F\nprint(F(1, 3) + 1)",
        "from sympy import *\nprint(factorint(84))",
        "import scipy.special\nprint(scipy.special.comb(5, 2))",
        "def f():\n    import math\n    return math.sqrt(2)\nprint(f())",
        LOOP,
        "n = 0\nwhile n < 3:\n    n += 1\nprint(n)",
        "if 3 > 2:\n    print(1)",
        "print([n * n for n in (1, 2)])",
        "print(sum(n for n in (1, 2)))",
        "print(1 if 2 > 1 else 0)",
    ],
)
def test_library_calls_and_control_flow_are_substantial(code: str) -> None:
    assert is_substantial(code)


@pytest.mark.parametrize(
    "code",
    [
        PRINT,
        "a = 3\nb = 4\nc = a * b\nprint(a)\nprint(b)\nprint(c)\nprint(a + b)",
        "import math\nprint(2 + 2)",
        "import math\nprint(math.pi)",
        "from sympy import *\nprint(1 + 1)",
        "from math import *\ndef f():\n    return 2\nprint(f())",
        "print(pow(2, 10))",
        "def f(x):\n    return x + 1\nprint(f(1))",
        "",
        "# for n in range(3): import math; math.gcd(1, 2)",
        "s = 'for n in range(3)'\nprint(s)",
        "for n in range(3) print(n)",
        "\x00",
        "(" * 5000,
    ],
)
def test_trivial_unused_and_unparsable_code_is_not(code: str) -> None:
    assert not is_substantial(code)


@pytest.mark.parametrize(
    ("blocks", "kept"),
    [
        ([PRINT], False),
        ([LOOP], True),
        ([PRINT, PRINT], False),
        ([LOOP, PRINT], True),
        ([LOOP, PRINT, PRINT], True),
        ([LOOP, PRINT, PRINT, PRINT], False),
        ([LOOP, LOOP, PRINT, PRINT, PRINT], False),
    ],
)
def test_the_share_of_trivial_blocks_is_bounded(blocks: list[str], kept: bool) -> None:
    assert (trivial_reason(blocks, 0.4, 0) is None) is kept


def test_minimum_lines_is_an_extra_demand() -> None:
    assert is_substantial(LOOP, minimum_lines=2)
    assert not is_substantial(LOOP, minimum_lines=3)
    assert code_lines("# comment\n\nx = 1\n   # more\ny = 2\n") == 2
