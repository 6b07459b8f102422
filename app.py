"""A page on this machine (Gradio): an image in, the maps and the segmentation of a trained run out"""

import os
import tempfile
import warnings

from data.image import IMAGE_SUFFIXES
from errors import UserError, missing_package, pip_install
from infer.run import trained_class_names
from tool.config import parse, run_main

MAX_BYTES = 32 * 2**20  # of an uploaded file; data.image.MAX_PIXELS bounds what is in it
GRADIO = (6, 31)  # the oldest that it was tried with
WAITING = 8  # requests at most; they are answered one by one
CSS = """
.gradio-container [role=status], .gradio-container [role=alert] { margin-bottom: 1rem; overflow-wrap: anywhere; }
.gradio-container :focus-visible { outline: .15rem solid currentColor !important; outline-offset: .1rem; }
[role=alert] { border-left: .3rem solid #d55e00; padding-left: .7rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); gap: 1rem; }
.pictures figure { margin: 0; }
.pictures img { width: 100%; height: auto; border-radius: .2rem; }
"""
# Gradio's own button is too pale for white letters, and its hints are too pale to read.
COLOURS = {"button_primary_background_fill": "*primary_700", "block_info_text_color": "*body_text_color"}


def load(settings):
    """The run's networks, ready to be asked: a `viz.answer.Viewer`."""
    from infer.photo import load_networks, trained_networks, trained_side
    from tool.device import choose_device, describe, set_precision
    from viz.answer import Viewer
    from viz.palette import palette

    class_names, names = trained_class_names(settings.run, settings.dataset_root), trained_networks(settings.run)
    device = choose_device(settings.device)
    print(f"app: {' and '.join(names)} of {settings.run} on {describe(device)}", flush=True)
    networks = load_networks(names, settings, class_names, set_precision(settings.precision, device), device)
    max_side = settings.max_side or trained_side(settings.run)
    return Viewer(networks, class_names, max_side, device, palette(settings.palette))


def build(gradio, viewer, title):
    """The page: gradio.Blocks that are not served yet."""
    with gradio.Blocks(title=title, analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as page:
        gradio.Markdown(f"# {title}\nChoose an image. It stays on this machine.")
        with gradio.Row():
            with gradio.Column(scale=1, min_width=280):
                # A File, not an Image, which Gradio would decode before any bound on its pixels.
                image = gradio.File(label="Image", file_types=list(IMAGE_SUFFIXES))
                hint = "that the image shows; none: those that the networks find"
                classes = gradio.Dropdown(
                    viewer.class_names[1:], value=[], multiselect=True, label="Classes", info=hint
                )
                crf = gradio.Checkbox(label="Refine the labels by dense CRF, which takes longer")
                button = gradio.Button("Show", variant="primary")
            with gradio.Column(scale=3, min_width=280):
                answer = gradio.HTML()
        when, inputs = [image.upload, button.click], [image, classes, crf]
        gradio.on(when, viewer.answer, inputs, answer, concurrency_limit=1, api_visibility="private")
    return page.queue(max_size=WAITING, api_open=False)


def serve(gradio, page, port):
    """Show the page on this machine until Ctrl-C."""
    options = {"share": False, "quiet": True, "prevent_thread_lock": True, "run_history": False, "ssr_mode": False}
    theme = gradio.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"])
    theme.set(**COLOURS, **{f"{name}_dark": value for name, value in COLOURS.items()})
    options |= {"theme": theme, "css": CSS, "footer_links": ["settings"], "max_file_size": MAX_BYTES}
    try:
        # Without _frontend's check, which gives up on a machine that is too busy to answer within three seconds.
        _, url, _ = page.launch(server_name="127.0.0.1", server_port=port, _frontend=False, **options)
    except OSError as error:
        raise UserError(f"--port {port or '7860 to 7959'}: is taken or not allowed: give another") from error
    print(f"app: {url} (Ctrl-C ends it)", flush=True)
    page.block_thread()


def main():
    settings = parse("app", __doc__)
    warnings.filterwarnings("ignore", module="PIL")  # odd metadata is no concern of the one who looks at the image
    with tempfile.TemporaryDirectory(prefix="aesipe_app_") as folder:  # Gradio's own would be every user's
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["NO_PROXY"] = "127.0.0.1"  # it asks its own server whether it is up
        try:
            import gradio
        except ImportError as error:
            raise missing_package("app.py", "gradio") from error
        if tuple(map(int, gradio.__version__.split(".")[:2])) < GRADIO:
            upgrade = pip_install("--upgrade", "gradio")
            raise UserError(f"app.py needs a newer Gradio than {gradio.__version__}: {upgrade}")
        serve(gradio, build(gradio, load(settings), f"AE-SIPE: {settings.run.path.name}"), settings.port)


if __name__ == "__main__":
    run_main(main)
