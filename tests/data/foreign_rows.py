"""One small row of every published shape, composed in that shape."""

from typing import Any

from tirgen.data.response_layouts import ResponseFormat

TORA: dict[str, Any] = {
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
OPENMATHINSTRUCT = {
    "question": "What is 2+2?",
    "expected_answer": "4",
    "predicted_answer": "4",
    "error_message": "",
    "is_correct": True,
    "generation_type": "without_reference_solution",
    "dataset": "gsm8k",
    "generated_solution": "Let's compute.\n<llm-code>\nx = 2\nx + 2\n</llm-code>\n"
    "<llm-code-output>\n4\n</llm-code-output>\nSo the answer is \\boxed{4}.",
}
SHAREGPT = {
    "system": "You may call Python.",
    "conversations": [
        {"from": "human", "value": "What is 2+2?"},
        {"from": "gpt", "value": "Let me run it."},
        {
            "from": "function_call",
            "value": '{"name": "python", "arguments": {"code": "print(2+2)"}}',
        },
        {"from": "observation", "value": "4"},
        {"from": "gpt", "value": "It is \\boxed{4}."},
    ],
    "tools": '[{"name": "python"}]',
}
VERL_RETOOL = {
    "messages": [
        {"role": "user", "content": "What is 2+2?"},
        {
            "role": "assistant",
            "content": "Okay, let me run it.",
            "tool_calls": [
                {
                    "type": "function",
                    "function": {"name": "code_interpreter", "arguments": {"code": "print(2+2)"}},
                }
            ],
        },
        {"role": "tool", "content": "4", "tool_calls": None},
        {"role": "assistant", "content": "So <answer>\\boxed{4}</answer>", "tool_calls": None},
    ],
    "tools": [{"type": "function", "function": {"name": "code_interpreter"}}],
}
"""As `recipe/retool/retool_sft_preprocess.py` of verl writes it."""
CALL = '<tool_call>\n{"name": "python", "arguments": {"code": "print(2+2)"}}\n</tool_call>'
QWEN3 = {
    "messages": [
        {"role": "system", "content": "# Tools"},
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "content": f"<think>\nI run it.\n</think>\n\n{CALL}"},
        {"role": "user", "content": "<tool_response>\n4\n</tool_response>"},
        {"role": "assistant", "content": "It is \\boxed{4}."},
    ],
    "answer": "4",
}
"""What Qwen3's template makes of calls, read back into turns."""
ATIF: dict[str, Any] = {
    "schema_version": "ATIF-v1.6",
    "session_id": "s",
    "agent": {"name": "mini-swe-agent", "version": "2", "model_name": "Qwen3-8B"},
    "steps": [
        {"step_id": 1, "source": "system", "message": "You may call Python."},
        {"step_id": 2, "source": "user", "message": [{"type": "text", "text": "What is 2+2?"}]},
        {
            "step_id": 3,
            "source": "agent",
            "message": "",
            "reasoning_content": "I run it.",
            "tool_calls": [
                {
                    "tool_call_id": "a",
                    "function_name": "python",
                    "arguments": {"code": "print(2+2)"},
                }
            ],
            "observation": {"results": [{"source_call_id": "a", "content": "4"}]},
        },
        {"step_id": 4, "source": "agent", "message": "It is \\boxed{4}."},
    ],
}
"""As Harbor's RFC has it, with a part list and a step that only thinks and calls."""
ROWS: dict[ResponseFormat, dict[str, Any]] = {
    ResponseFormat.TORA: TORA,
    ResponseFormat.OPENMATHREASONING: OPENMATH,
    ResponseFormat.OPENMATHINSTRUCT: OPENMATHINSTRUCT,
    ResponseFormat.NUMINAMATH_TIR: NUMINA,
    ResponseFormat.RETOOL: RETOOL,
    ResponseFormat.SHAREGPT: SHAREGPT,
    ResponseFormat.ATIF: ATIF,
}
