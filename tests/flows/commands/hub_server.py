"""A stand-in of the Hub's HTTP API for datasets: creation, upload in its three ways, download."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "hf_planted_in_the_test"


@dataclass
class Hub:
    """What was asked of it, and the files of its repositories."""

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    """Uploaded by the large-file API, by SHA-256."""
    uploads: list[str] = field(default_factory=list)
    """How each file of a commit came: regular or lfs."""

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._only_with_the_token], client_max_size=1 << 26)
        repo = "/api/datasets/{owner}/{name}"
        app.add_routes(
            [
                web.post("/api/repos/create", self.create),
                web.post("/api/validate-yaml", self.validate),
                web.post(f"{repo}/preupload/{{revision}}", self.preupload),
                web.post("/datasets/{owner}/{name}.git/info/lfs/objects/batch", self.batch),
                web.put("/objects/{sha}", self.put),
                web.post(f"{repo}/commit/{{revision}}", self.commit),
                web.get(f"{repo}/revision/{{revision}}", self.info),
                web.get(repo, self.info),
                web.get(f"{repo}/tree/{{revision}}", self.tree),
                web.route("*", "/datasets/{owner}/{name}/resolve/{revision}/{path:.+}", self.file),
            ]
        )
        return app

    @web.middleware
    async def _only_with_the_token(self, request: web.Request, handler: Any) -> web.StreamResponse:
        known = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not known and not request.path.startswith("/objects/"):
            return web.json_response({"error": "Invalid username or password."}, status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    def _files(self, request: web.Request) -> dict[str, bytes]:
        name = f"{request.match_info['owner']}/{request.match_info['name']}"
        if name not in self.repositories:
            raise web.HTTPNotFound(headers={"X-Error-Code": "RepoNotFound"})
        return self.repositories[name]

    async def create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else ""
        assert asked["type"] == "dataset"
        status = 409 if name in self.repositories else 200
        self.repositories.setdefault(name, {})
        self.private.setdefault(name, asked.get("visibility") == "private")
        return web.json_response({"url": f"{self.url}/datasets/{name}", "id": name}, status=status)

    async def validate(self, request: web.Request) -> web.Response:
        head = (await request.json())["content"].split("---")[1]
        assert json.loads(head)["configs"][0]["config_name"] == "default"
        return web.json_response({"errors": [], "warnings": []})

    async def preupload(self, request: web.Request) -> web.Response:
        asked = (await request.json())["files"]
        told = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".parquet") else "regular",
                "shouldIgnore": False,
            }
            for file in asked
        ]
        return web.json_response({"files": told})

    async def batch(self, request: web.Request) -> web.Response:
        asked = (await request.json())["objects"]
        objects = [
            {
                **one,
                "authenticated": True,
                "actions": {"upload": {"href": f"{self.url}/objects/{one['oid']}"}},
            }
            for one in asked
        ]
        kind = "application/vnd.git-lfs+json"
        return web.json_response({"transfer": "basic", "objects": objects}, content_type=kind)

    async def put(self, request: web.Request) -> web.Response:
        content, sha = await request.read(), request.match_info["sha"]
        assert hashlib.sha256(content).hexdigest() == sha
        self.objects[sha] = content
        return web.Response()

    async def commit(self, request: web.Request) -> web.Response:
        files = self._files(request)
        for line in (await request.text()).splitlines():
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                    self.uploads.append("regular")
                case "lfsFile":
                    files[value["path"]] = self.objects[value["oid"]]
                    self.uploads.append("lfs")
                case "deletedFile":
                    del files[value["path"]]
        self.commits.append(hashlib.sha256(str(len(self.commits)).encode()).hexdigest()[:40])
        name = f"{request.match_info['owner']}/{request.match_info['name']}"
        url = f"{self.url}/datasets/{name}/commit/{self.commits[-1]}"
        return web.json_response({"success": True, "commitOid": self.commits[-1], "commitUrl": url})

    async def info(self, request: web.Request) -> web.Response:
        files = self._files(request)
        name = f"{request.match_info['owner']}/{request.match_info['name']}"
        siblings = [{"rfilename": path} for path in files]
        sha = self.commits[-1] if self.commits else None
        return web.json_response({"id": name, "sha": sha, "siblings": siblings, "private": False})

    async def tree(self, request: web.Request) -> web.Response:
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": _blob(content)}
            for path, content in self._files(request).items()
        ]
        return web.json_response(entries)

    async def file(self, request: web.Request) -> web.Response:
        files, path = self._files(request), request.match_info["path"]
        if path not in files:
            raise web.HTTPNotFound(headers={"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": self.commits[-1], "ETag": f'"{_blob(files[path])}"'}
        return web.Response(body=files[path], headers=headers)


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def hub() -> Iterator[Hub]:
    """The stand-in on loopback, in a thread of its own."""
    made, loop = Hub(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = web.AppRunner(made.application())

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port: int = runner.addresses[0][1]
        return port

    try:
        made.url = f"http://127.0.0.1:{asyncio.run_coroutine_threadsafe(start(), loop).result(30)}"
        yield made
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
