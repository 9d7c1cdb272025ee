"""What a server calls its weights."""

import os

from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.http import JsonClient


async def served_version(config: EngineConfig) -> str:
    key = os.environ[config.api_key_env] if config.api_key_env else None
    async with JsonClient(config.base_urls[0], api_key=key, connections=1) as client:
        answer = await client.get_root("/weight_info")
    return str(answer["weight_version"])
