"""JupyterLab opens a run file by double click and shows its transcripts, as a report does.

``labextension`` is the part in the browser: one script, which JupyterLab loads as it is written, without a build. It
asks ``server_extension``, the part in the Jupyter server, for the page of a run file. ``pyproject.toml`` says where
both are installed. Widgets for notebooks are not here, but in ``widgets``.
"""
