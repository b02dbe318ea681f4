"""The app: Train, Compare and Live in the browser, and the server's routes beside them; a Space's entry file.

    python app.py                                  # the newest finished run's model, or none
    python app.py --model runs/demo/artifact       # or MODEL_ID=owner/name

What an owner can set is in ui/account.py. It listens on this machine alone, unless --host or
GRADIO_SERVER_NAME says otherwise or it is a Space; the port is GRADIO_SERVER_PORT, else PORT, else 7860. The
page is up before the model is: that is loaded behind it. Knows nothing about what the tabs do.
"""

import argparse
import os
import sys

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported: it must reach no other host

import gradio as gr
from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware

from inference.common.command import take_any_text, whole
from inference.serving.app import answer_errors, refuse_other_methods
from inference.serving.command import host_of, port_of, tokens, trusted_proxies
from inference.serving.errors import ServingError
from inference.serving.hosts import OwnHosts
from inference.serving.mcp import mount_mcp
from inference.serving.routes import add_routes
from inference.serving.schema import Settings, allowed_hosts
from inference.serving.service import Service
from ui import Workbench, build
from ui.account import SettingsError, read_settings
from ui.delivery import Delivery
from ui.live.feeds import LiveFeeds
from ui.live.review import Duels
from ui.server import Server
from ui.theme import head, theme
from ui.translations import I18N


def create_app(
    workbench: Workbench, service: Service, feeds: LiveFeeds | None = None, duels: Duels | None = None
) -> FastAPI:
    """Return the server: the page at `/`, and the routes of `python -m inference serve`."""
    app = FastAPI(title="TweetTune", docs_url=None, redoc_url=None)

    @app.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)  # the routes have another
    def healthz() -> dict[str, str]:
        return {"status": "ok", "model": workbench.model.state}

    mount_mcp(app, add_routes(app, service))
    app.add_middleware(Delivery)
    app.add_middleware(GZipMiddleware, minimum_size=2_000)  # what has not been packed yet
    answer_errors(app, service)
    refuse_other_methods(app)
    app.add_middleware(OwnHosts, service=service)
    return gr.mount_gradio_app(
        app,
        build(workbench, feeds, duels),
        path="/",
        theme=theme(),
        head=head(),
        i18n=I18N,
        show_error=False,
        max_file_size=f"{workbench.settings.max_upload_mb}mb",
        enable_monitoring=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
    )


def main() -> None:
    """Read the command line and serve until interrupted."""
    take_any_text()
    try:
        owner = read_settings()
        gradios = os.environ.get("GRADIO_SERVER_PORT")
        port = port_of(7860, GRADIO_SERVER_PORT=gradios, PORT=os.environ.get("PORT"))
        settings = Settings(
            tokens=tokens(None),
            rate_limit=owner.texts_per_s,
            trusted_proxies=trusted_proxies(),
            allowed_hosts=allowed_hosts(),
        )
    except (SettingsError, ServingError) as error:
        sys.exit(str(error))
    parser = argparse.ArgumentParser(description="Train, Compare and Live in the browser.")
    parser.add_argument(
        "--model",
        default=owner.model_id or os.environ.get("MODEL"),
        help="artifact folder, run or Hub repository; default: MODEL_ID, else MODEL, else the newest run",
    )
    parser.add_argument(
        "--host",
        default=host_of(os.environ.get("GRADIO_SERVER_NAME")),
        help="address to listen on; 0.0.0.0: all (default: %(default)s)",
    )
    parser.add_argument("--port", type=whole, default=port, help="port to listen on (default: %(default)s)")
    arguments = parser.parse_args()
    service = Service({"fine-tuned": "", "base": ""}, settings=settings, expected=())
    workbench = Workbench(
        model=arguments.model, settings=owner, on_expected=service.models.expect, on_loaded=service.put
    )
    feeds = LiveFeeds()
    app = create_app(workbench, service, feeds)
    Server(service, app, workbench, host=arguments.host, port=arguments.port).run()
    feeds.stop_all()  # X keeps a stream's rule until its source takes it back
    service.close()


if __name__ == "__main__":
    main()
