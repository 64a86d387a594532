"""The part that runs in the Jupyter server: the transcripts of a run file below its root folder, as a page."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler, path_regex
from jupyter_server.utils import ApiPath, to_os_path, url_path_join
from tornado.web import HTTPError, authenticated

from evalkit.errors import RunFileError

_READER = ThreadPoolExecutor(1, "evalkit-transcripts")  # pages are large: one at a time


class TranscriptPage(APIHandler):
    """Answers with the transcripts of a run file: ``{"page": HTML}``, or ``{"message": why not}``.

    The page is in JSON, so that it never gets the origin of the Jupyter server: the script that asks for it shows it
    in a sandboxed frame.
    """

    auth_resource = "contents"

    @authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Send the page of the run file with this path below the root folder."""
        contents: Any = self.contents_manager
        # refuses what the file browser does not show: paths outside the root folder, hidden files
        await ensure_async(contents.get(path, content=False, type="file"))
        if not hasattr(contents, "root_dir"):
            raise HTTPError(400, "this Jupyter server has no files on disk: download the run file")
        file = Path(to_os_path(ApiPath(path), contents.root_dir))
        try:
            page = await asyncio.get_running_loop().run_in_executor(_READER, _page, file)
        except RunFileError as error:
            self.set_status(400)
            await self.finish({"message": str(error)})
        else:
            await self.finish({"page": page})


def _page(file: Path) -> str:
    from evalkit.report import transcript_browser  # takes a second, which the start of the server need not wait for

    return transcript_browser.browser_page([file])


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    route = url_path_join(server.web_app.settings["base_url"], "evalkit", "transcripts" + path_regex)
    server.web_app.add_handlers(".*$", [(route, TranscriptPage)])
