"""The app: Train, Compare and Live in the browser; also the entry file of the Hugging Face Space.

    python app.py                                  # the newest finished run's model, or none
    python app.py --model runs/demo/artifact       # or MODEL=owner/name

The port is GRADIO_SERVER_PORT, else PORT, else 7860. The page is up before the model is: that is loaded
behind it. Knows nothing about what the tabs do.
"""

import argparse
import os
import webbrowser

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported: it must reach no other host

import gradio as gr
import uvicorn
from fastapi import FastAPI

from training.terminal import is_at_a_desktop
from ui import Workbench, build
from ui.theme import head, theme
from ui.translations import I18N


def create_app(workbench: Workbench) -> FastAPI:
    """Return the server: `/healthz`, and the page at `/`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok", "model": workbench.model.state}

    return gr.mount_gradio_app(
        app, build(workbench), path="/", theme=theme(), head=head(), i18n=I18N, show_error=False,
        max_file_size="50mb", enable_monitoring=False, footer_links=[], run_history=False, ssr_mode=False,
    )  # fmt: skip


class Server(uvicorn.Server):
    """Says where the app is and begins to load the model once the page can be had."""

    def __init__(self, config: uvicorn.Config, workbench: Workbench) -> None:
        super().__init__(config)
        self.workbench = workbench

    async def startup(self, *args: object, **kwargs: object) -> None:
        """Bind the port, then print the URL."""
        await super().startup(*args, **kwargs)
        if self.started:
            url = f"http://127.0.0.1:{self.config.port}"
            print(f"TweetTune is at {url}", flush=True)  # noqa: T201
            if is_at_a_desktop():
                webbrowser.open(url)
            self.workbench.load_in_background()


def main() -> None:
    """Read the command line and serve until interrupted."""
    parser = argparse.ArgumentParser(description="Train, Compare and Live in the browser.")
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL"),
        help="artifact folder or Hub repository; default: the newest finished run",
    )
    port = int(os.environ.get("GRADIO_SERVER_PORT") or os.environ.get("PORT") or 7860)
    parser.add_argument("--port", type=int, default=port, help="port to listen on (default: %(default)s)")
    arguments = parser.parse_args()
    workbench = Workbench(model=arguments.model)
    config = uvicorn.Config(
        create_app(workbench), host="0.0.0.0", port=arguments.port,
        log_level="warning", timeout_graceful_shutdown=1,
    )  # fmt: skip
    Server(config, workbench).run()


if __name__ == "__main__":
    main()
