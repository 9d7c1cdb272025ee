"""One small row of every published shape, composed in that shape."""

from typing import Any

from tirgen.importing.shapes import Format

TORA = {
    "idx": 3,
    "question": "What is 2+2?",
    "gt": "4",
    "code": ["```python\nprint(2+2)\n```\n```output\n4\n```\nIt is $\\boxed{4}$.", "Just 4."],
    "pred": ["4", ""],
    "report": [None, None],
}
OPENMATH = {
    "expected_answer": "4",
    "problem": "What is 2+2?",
    "generated_solution": "<think>Let me run it.\n<tool_call>\nx = 2\nx + 2\n</tool_call>\n"
    "```output\n4\n```\nIt is four.</think>\nSo $\\boxed{4}$.",
    "generation_model": "QwQ-32B",
    "inference_mode": "tir",
}
NUMINA = {
    "problem": "What is 2+2?",
    "solution": "We add.\n```python\nprint(2+2)\n```\n```output\n4\n```\n"
    "The answer is $\\boxed{4}$.",
    "messages": [
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "content": "We add."},
    ],
}
RETOOL = {
    "messages": [
        {
            "role": "user",
            "content": "Solve the following problem step by step, with code.\n\n*user question:*\n"
            "Answer the following Math Problem and put the answer in the format of \\boxed{answer}"
            "\n\nWhat is 2+2?\n\n\nRemember to place the final answer in the last part using the "
            "format: \n<answer>\n\\boxed{'The final answer goes here.'}\n</answer>",
        },
        {
            "role": "assistant",
            "content": "Okay.\n<code>\n```python\nprint(2+2)\n```\n</code>\n"
            "<interpreter>\n4\n</interpreter>\nSo\n<answer>\n\\boxed{4}\n</answer>",
        },
    ]
}
ROWS: dict[Format, dict[str, Any]] = {
    Format.TORA: TORA,
    Format.OPENMATHREASONING: OPENMATH,
    Format.NUMINAMATH_TIR: NUMINA,
    Format.RETOOL: RETOOL,
}
