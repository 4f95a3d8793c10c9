"""A headless Chromium, driven over its DevTools pipe: nothing but the browser is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.service import wait_until
from tests.tools import needs

#: The hosts of pages and services in tests are all this machine.
HOSTS = "--host-resolver-rules=MAP *.example 127.0.0.1"
#: Quiet, without a sandbox (root has none), and with nothing of its own to fetch.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-breakpad",
    "--remote-debugging-pipe",
    # A browser that says what it is counts as a bot.
    "--user-agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/150.0.0.0 Safari/537.36",
)


def find_chromium() -> str | None:
    """Return the path of a Chromium on this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


needs_chromium = needs("Chromium", find_chromium())


class Chromium:
    """A browser process with a profile of its own."""

    def __init__(self, process: subprocess.Popen[bytes], commands: int, messages: int) -> None:
        self._process = process
        self._commands = os.fdopen(commands, "wb", buffering=0)
        self._messages = os.fdopen(messages, "rb")
        self._answers: dict[int, dict[str, Any]] = {}
        self._arrived = threading.Condition()
        self._last = 0
        self._tabs: dict[str, Tab] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def open(self, url: str = "about:blank", script: str = "") -> Tab:
        """Open a tab; `script` runs in each of its documents before anything of the page does."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, target, session)
        tab.call("Network.enable", maxPostDataSize=1 << 20)
        tab.call("Page.enable")
        tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
        if script:
            tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        if url != "about:blank":
            tab.go(url)
        return tab

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and return its result."""
        with self._arrived:
            self._last += 1
            number = self._last
            command = {"id": number, "method": method, "params": parameters}
            if session is not None:
                command["sessionId"] = session
            self._commands.write(json.dumps(command).encode() + b"\0")
            assert self._arrived.wait_for(lambda: number in self._answers, timeout=30), command
            answer = self._answers.pop(number)
        assert "error" not in answer, (command, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> None:
        buffer = b""
        while chunk := self._messages.read1(1 << 20):  # type: ignore[attr-defined]  # a BufferedReader
            *whole, buffer = (buffer + chunk).split(b"\0")
            for message in map(json.loads, whole):
                if "id" in message:
                    with self._arrived:
                        self._answers[message["id"]] = message
                        self._arrived.notify_all()
                elif tab := self._tabs.get(message.get("sessionId", "")):
                    tab.notice(message["method"], message["params"])

    def close(self) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        self._commands.close()
        self._messages.close()


class Tab:
    """A tab, and the requests that its pages have made."""

    def __init__(self, browser: Chromium, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        self._requests: dict[str, dict[str, Any]] = {}

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def go(self, url: str) -> None:
        """Load a page and wait until it has loaded."""
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        wait_until(lambda: self.run("document.readyState") == "complete", timeout=30)

    def run(self, code: str) -> Any:
        """Run JavaScript in the page and return its value."""
        answer = self.call(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def sent(self, path: str) -> list[tuple[Any, int | None]]:
        """Return the JSON documents that were posted to a path and, once known, the statuses."""
        return [
            (json.loads(request["body"]), request.get("status"))
            for request in list(self._requests.values())
            if request["method"] == "POST" and f"{path}?" in request["url"]
        ]

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def notice(self, event: str, details: Mapping[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            request = details["request"]
            self._requests[details["requestId"]] = {
                "url": request["url"],
                "method": request["method"],
                "body": request.get("postData", "null"),
            }
        elif event == "Network.responseReceived" and details["requestId"] in self._requests:
            self._requests[details["requestId"]]["status"] = details["response"]["status"]


@contextmanager
def running_chromium(
    profile: Path, *flags: str, preferences: Mapping[str, Any] | None = None
) -> Iterator[Chromium]:
    """Run a browser for a block, with a new profile."""
    executable = find_chromium()
    assert executable is not None, "there is no Chromium on this machine"
    settings = profile / "Default" / "Preferences"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(preferences or {}))
    # The browser reads commands from its descriptor 3 and writes to 4.
    its_commands, commands = os.pipe()
    messages, its_messages = os.pipe()
    shell = f'exec "$0" "$@" 3<&{its_commands} 4>&{its_messages}'
    with (profile / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", shell, executable, *FLAGS, *flags, f"--user-data-dir={profile}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(its_commands, its_messages),
        )
    os.close(its_commands)
    os.close(its_messages)
    browser = Chromium(process, commands, messages)
    try:
        yield browser
    finally:
        browser.close()
