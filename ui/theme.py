"""The app's look: Gradio's theme, and our style sheet and script, which go into the page's head.

    gr.mount_gradio_app(app, demo, path="/", theme=theme(), head=head())

Fonts are the system's and nothing is fetched from another host. In the head Gradio does not rewrite the style
sheet's selectors.
"""

import re
from pathlib import Path
from urllib.parse import quote

import gradio as gr
from gradio.themes.utils import colors, fonts, sizes

MARK = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><rect width="24" height="24" rx="6" fill="{fill}"/>'
    '<path d="M5 14.5h2.5l2-6 3 9.5 2.7-7 1.3 3.5H19" fill="none" stroke="{stroke}" stroke-width="1.9" '
    'stroke-linecap="round" stroke-linejoin="round"/></svg>'
)
_SANS = (
    "ui-sans-serif",
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Roboto",
    "Helvetica Neue",
    "Arial",
    "sans-serif",
)
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")
# The script sets the document's language, which Gradio does not; keeps a tab open that is pressed before
# the page knows where to open (see ui/page.py); asks on Enter; keeps typed text across a lost connection,
# and dims the answer to the former text; puts tabs and texts in the address, so that Back works. Comments
# are not sent.
_COMMENT = re.compile(r"/\*.*?\*/\s*|^\s*//[^\n]*\n|^[ ]+", re.DOTALL | re.MULTILINE)


def head() -> str:
    """Return our part of the page's <head>: icon, style sheet and script."""
    css, script = (
        _COMMENT.sub("", (Path(__file__).parent / name).read_text(encoding="utf-8"))  # the page is sent whole
        for name in ("theme.css", "page.js")
    )
    icon = MARK.format(fill="#0f766e", stroke="#ffffff").replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '
    )
    return (
        f'<link rel="icon" href="data:image/svg+xml,{quote(icon)}">'
        f"<style>{css}</style><script>{script}</script>"
    )


def theme() -> gr.themes.Base:
    """Return Gradio's theme in our colours: one accent, quiet borders, the system's fonts."""
    return gr.themes.Base(
        primary_hue=colors.teal,
        secondary_hue=colors.teal,
        neutral_hue=colors.gray,
        spacing_size=sizes.spacing_md,
        radius_size=sizes.radius_md,
        text_size=sizes.text_sm,
        font=[fonts.Font(name) for name in _SANS],
        font_mono=[fonts.Font(name) for name in _MONO],
    ).set(**_pairs())


def _pairs() -> dict[str, str]:
    """Return the theme's variables; colours are properties of theme.css, in light and in dark alike."""
    same = {
        "body_background_fill": "var(--tt-page)",
        "body_text_color": "var(--tt-ink)",
        "body_text_color_subdued": "var(--tt-muted)",
        "background_fill_primary": "var(--tt-card)",
        "background_fill_secondary": "var(--tt-well)",
        "border_color_primary": "var(--tt-line)",
        "border_color_accent": "var(--tt-accent)",
        "color_accent_soft": "var(--tt-accent-soft)",
        "link_text_color": "var(--tt-accent-ink)",
        "block_background_fill": "var(--tt-card)",
        "block_border_color": "var(--tt-line)",
        "block_label_text_color": "var(--tt-muted)",
        "block_label_background_fill": "var(--tt-card)",
        "block_title_text_color": "var(--tt-ink)",
        "block_info_text_color": "var(--tt-muted)",
        "accordion_text_color": "var(--tt-ink)",
        "table_text_color": "var(--tt-ink)",
        "input_background_fill": "var(--tt-card)",
        "input_background_fill_focus": "var(--tt-card)",
        "input_border_color": "var(--tt-line)",
        "input_border_color_focus": "var(--tt-accent)",
        "input_placeholder_color": "var(--tt-muted)",
        "checkbox_background_color": "var(--tt-card)",
        "checkbox_background_color_selected": "var(--tt-accent)",
        "checkbox_border_color": "var(--tt-muted)",
        "checkbox_border_color_selected": "var(--tt-accent)",
        "checkbox_label_background_fill": "var(--tt-card)",
        "checkbox_label_background_fill_hover": "var(--tt-hover)",
        "checkbox_label_background_fill_selected": "var(--tt-accent-soft)",
        "checkbox_label_border_color": "var(--tt-line)",
        "checkbox_label_border_color_selected": "var(--tt-accent)",
        "checkbox_label_text_color": "var(--tt-ink)",
        "checkbox_label_text_color_selected": "var(--tt-ink)",
        "slider_color": "var(--tt-accent)",
        "loader_color": "var(--tt-accent)",
        "button_primary_background_fill": "var(--tt-accent)",
        "button_primary_background_fill_hover": "var(--tt-accent-hover)",
        "button_primary_text_color": "var(--tt-on-accent)",
        "button_primary_border_color": "var(--tt-accent)",
        "button_secondary_background_fill": "var(--tt-card)",
        "button_secondary_background_fill_hover": "var(--tt-hover)",
        "button_secondary_text_color": "var(--tt-ink)",
        "button_secondary_border_color": "var(--tt-line)",
        "button_cancel_background_fill": "var(--tt-card)",
        "button_cancel_background_fill_hover": "var(--tt-bad-soft)",
        "button_cancel_text_color": "var(--tt-bad)",
        "button_cancel_border_color": "var(--tt-line)",
    }
    once = {
        "block_shadow": "none",
        "block_border_width": "1px",
        "block_label_text_size": "*text_sm",
        "block_title_text_size": "*text_sm",
        "block_title_text_weight": "550",
        "block_info_text_size": "12px",
        "button_large_padding": "8px 16px",
        "button_large_text_size": "14px",
        "button_large_text_weight": "600",
        "button_small_text_size": "13px",
        "button_border_width": "1px",
        "input_shadow": "none",
        "checkbox_label_shadow": "none",
        "layout_gap": "12px",
        "form_gap_width": "0px",
    }
    return {**same, **{f"{name}_dark": value for name, value in same.items()}, **once}
