"""A stand-in for an engine's program, run as a process: OpenAI's API with adapters by vLLM's routes, and ways to break.

`python server_program.py MODEL [--die-at-once]`: prints `ready URL` and serves until its standard input closes.
POST /crash ends it at once, POST /hang makes it answer nothing any more.
"""

import asyncio
import os
import sys
import threading

from aiohttp import web


class Program:
    def __init__(self, model: str, owner: str) -> None:
        self.model, self.owner = model, owner
        self.adapters: dict[str, str] = {}
        self.hung = False
        self.loads = 0

    @web.middleware
    async def maybe_hang(self, request: web.Request, handler) -> web.StreamResponse:
        if self.hung:
            await asyncio.Event().wait()
        return await handler(request)

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = body["model"]
        if name != self.model and name not in self.adapters:
            return web.json_response({"error": {"message": f"no {name} here"}}, status=404)
        said = f"{self.adapters.get(name, 'base')} of {os.getpid()}"
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        choice["asked"] = body
        return web.json_response({"model": name, "choices": [choice], "usage": {"prompt_tokens": 1}})

    async def models(self, request: web.Request) -> web.Response:
        listed = [{"id": self.model, "owned_by": self.owner, "parent": None, "root": None}]
        listed += [{"id": name, "parent": self.model, "root": path} for name, path in self.adapters.items()]
        return web.json_response({"object": "list", "data": listed})

    async def load(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.loads += 1
        await asyncio.sleep(0.05)
        if body["lora_name"] in self.adapters:
            return web.json_response({"error": {"message": "has already been loaded"}}, status=400)
        if "broken" in body["lora_path"]:
            return web.json_response({"error": {"message": "rank 64 is too large"}}, status=500)
        self.adapters[body["lora_name"]] = body["lora_path"]
        return web.Response(text="Success")

    async def unload(self, request: web.Request) -> web.Response:
        if self.adapters.pop((await request.json())["lora_name"], None) is None:
            return web.json_response({"error": {"message": "cannot be found"}}, status=404)
        return web.Response(text="Success")

    async def crash(self, request: web.Request) -> web.Response:
        os._exit(7)

    async def hang(self, request: web.Request) -> web.Response:
        self.hung = True
        return web.Response()

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "precision": os.environ.get("PROGRAM_PRECISION", "float32"),
                                  "loads": self.loads})  # fmt: skip

    async def serve(self, port: int) -> None:
        app = web.Application(middlewares=[self.maybe_hang])
        app.router.add_get("/healthz", self.health)
        app.router.add_get("/health", self.health)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/load_lora_adapter", self.load)
        app.router.add_post("/v1/unload_lora_adapter", self.unload)
        app.router.add_post("/crash", self.crash)
        app.router.add_post("/hang", self.hang)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print(f"ready http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()


def end_with_input() -> None:
    while os.read(0, 4096):
        continue
    os._exit(0)


if __name__ == "__main__":
    model, owner, port = sys.argv[1:4]
    if "--with-input" in sys.argv:
        threading.Thread(target=end_with_input, daemon=True).start()
    asyncio.run(Program(model, owner).serve(int(port)))
